"""Load a configuration: a preset that ships with the package or a YAML file, with overrides on top."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ..errors import ConfigError
from ..suggest import did_you_mean
from . import document, refusals
from .settings import RunConfig

_FOLDER = resources.files(__package__) / "presets"


def preset_names() -> list[str]:
    """The names of the presets that ship with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _FOLDER.iterdir() if p.name.endswith(".yaml"))


def summarize(preset: str) -> str:
    """The line about a preset that is the first comment of its file, after the line for editors."""
    comments = (line.lstrip("# ") for line in _text(preset).splitlines() if line.startswith("#"))
    return next(line for line in comments if not line.startswith("yaml-language-server"))


def load_config(preset: str | None = None, file: Path | None = None, overrides: Iterable[str] = ()) -> RunConfig:
    """Load and validate a configuration.

    Args:
        preset: the name of a preset, or None.
        file: the path of a YAML file, or None. Exactly one of `preset` and `file` is given.
        overrides: changes on top, such as ``rollouts.samples=8``. The value is YAML, and a number in the path picks an
            item of a list.

    Raises:
        ConfigError: the preset or file does not exist, the YAML is not valid, or a field is unknown or has a wrong
            value. The message names the file, its line, the field and the values that the field accepts.
    """
    return _overridden(document.parse(*_read(preset, file)), overrides)


def build(tree: dict[str, Any], source: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Validate a configuration given as a tree, with overrides on top. Messages call it `source`.

    Raises:
        ConfigError: a field is unknown or has a wrong value.
    """
    return _overridden(document.Document(source, tree), overrides)


def _overridden(written: document.Document, overrides: Iterable[str]) -> RunConfig:
    for override in overrides:
        written = document.override(written, override)
    return validate(written)


def validate(written: document.Document) -> RunConfig:
    """The configuration that a document describes; raises as `load_config`."""
    try:
        return RunConfig.model_validate(written.tree)
    except ValidationError as e:
        raise ConfigError(refusals.explain(e, written)) from None


def _read(preset: str | None, file: Path | None) -> tuple[str, str]:
    """The name of the configuration for messages, and its text."""
    if file is not None and preset is None:
        if str(file) in preset_names() and not file.exists():
            raise ConfigError(f"cannot read the configuration {file}: there is no such file; did you mean --preset?")
        return f"configuration {file}", document.read(file)
    if preset is None or file is not None:
        raise ConfigError(
            "give either a preset or a configuration file\n"
            f"  remedy: --preset NAME (one of {', '.join(preset_names())}) or --config FILE"
        )
    if preset in preset_names():
        return f"preset {preset}", _text(preset)
    near = did_you_mean(preset, preset_names())
    if not near and preset.endswith((".yaml", ".yml")):
        near = "; a file of your own is given with --config"
    raise ConfigError(f"there is no preset {preset!r}; choose one of: {', '.join(preset_names())}{near}")


def _text(preset: str) -> str:
    return (_FOLDER / f"{preset}.yaml").read_text(encoding="utf-8")
