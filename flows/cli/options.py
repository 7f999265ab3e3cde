"""Options that several commands of ``ssb`` share, and the configuration that they come to."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ssb_core.config import RunConfig
    from ssb_core.store import Store


class FormName(StrEnum):
    """How a completion commits to its answer."""

    boxed = "boxed"
    hash = "hash"
    choice = "choice"
    exact = "exact"


class PoolTypeName(StrEnum):
    """What the runs of a work pool are."""

    process = "process"
    docker = "docker"
    kubernetes = "kubernetes"


PresetOption = Annotated[
    str | None, typer.Option("--preset", "-p", help="A configuration that ships with ssb: quickstart, smollm2, paper.")
]
ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="Your own configuration, a YAML file.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", "-s", metavar="A.B=C", help="Change one field, e.g. --set rollouts.samples=8. Repeatable."),
]
StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="SSB_STORE",
        metavar="DIR|URL",
        help="Where results are kept and reused: a directory, or a URL such as s3://bucket/store.",
    ),
]
RunsOption = Annotated[Path, typer.Option("--runs", help="Where each run's report and summary go.")]
LimitOption = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", help="Ask at most N problems of every benchmark: a smoke run, marked as partial everywhere."
    ),
]
NameOption = Annotated[
    str | None,
    typer.Option("--name", "-n", help="Name of the run; by default preset and digest."),
]


def load(preset: str | None, config: Path | None, overrides: list[str] | None, limit: int | None = None) -> RunConfig:
    """The configuration that options stand for.

    Raises:
        ConfigError: it cannot be used.
    """
    from ssb_core.config import presets

    limited = [f"evaluate.limit={limit}"] if limit else []
    return presets.load_config(preset, config, [*(overrides or ()), *limited])


def open_store(location: str) -> Store:
    """The store at a path or URL.

    Raises:
        ConfigError: nothing that is installed knows the URL.
    """
    from ssb_core.errors import ConfigError, StoreError
    from ssb_core.store import Store

    try:
        return Store.at(location)
    except StoreError as e:
        raise ConfigError(f"--store: {e}") from None
