"""Options that several commands of ``ssb`` share, and the values that commands get from them."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ssb_core.config.execution import StageName
from ssb_core.config.presets import preset_names

if TYPE_CHECKING:
    from ssb_core.config import RunConfig
    from ssb_core.store import Store


class FormName(StrEnum):
    """The form in which a completion states its answer."""

    boxed = "boxed"
    hash = "hash"
    choice = "choice"
    exact = "exact"


class PoolTypeName(StrEnum):
    """The way a work pool runs a flow."""

    process = "process"
    docker = "docker"
    kubernetes = "kubernetes"


PresetOption = Annotated[
    str | None,
    typer.Option(
        "--preset",
        "-p",
        metavar="NAME",
        help=f"Use a configuration that ships with ssb: {', '.join(preset_names())}. ssb presets describes them.",
    ),
]
ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", metavar="FILE", help="Use your own configuration, a YAML file.")
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", "-s", metavar="A.B=C", help="Change one field, for example --set rollouts.samples=8. Repeatable."
    ),
]
LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Use at most N problems of every benchmark. All results are then marked as partial."
    ),
]
FromOption = Annotated[
    StageName,
    typer.Option(
        "--from", metavar="STAGE", help="Start at this stage. Earlier stages must be in the store, or the run refuses."
    ),
]
ToOption = Annotated[StageName, typer.Option("--to", metavar="STAGE", help="Stop after this stage.")]
ForceOption = Annotated[
    list[StageName] | None,
    typer.Option("--force", metavar="STAGE", help="Make this stage again although it is cached. Repeatable."),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", "-n", metavar="NAME", help="Name the run. By default: the preset and a digest."),
]
DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Only show what the run would do, as ssb plan does, and change nothing.")
]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a finished run, or 'latest'.")]
AnyRunArgument = Annotated[str, typer.Argument(metavar="RUN", help="Name of a run, finished or not, or 'latest'.")]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="SSB_STORE",
        metavar="DIR|URL",
        help="Keep and reuse results here: a directory, or a URL such as s3://bucket/store.",
    ),
]
RunsOption = Annotated[
    Path, typer.Option("--runs", metavar="DIR", help="Keep a folder for each run here, with its report and summary.")
]


def load(preset: str | None, config: Path | None, overrides: list[str] | None, limit: int | None = None) -> RunConfig:
    """Build the configuration from the options.

    Raises:
        ConfigError: it cannot be used.
    """
    from ssb_core.config import presets

    limited = [f"evaluate.limit={limit}"] if limit else []
    return presets.load_config(preset, config, [*(overrides or ()), *limited])


def preset_name(preset: str | None, config: Path | None) -> str:
    """The configuration's name in tables and run names: its preset, its file, or ``custom``."""
    return preset or (config.stem if config else "custom")


def open_store(location: str) -> Store:
    """Open the store at a path or URL.

    Raises:
        ConfigError: no installed package can read the URL.
    """
    from ssb_core.errors import ConfigError, StoreError
    from ssb_core.store import Store

    try:
        return Store.at(location)
    except StoreError as e:
        raise ConfigError(f"--store: {e}") from None
