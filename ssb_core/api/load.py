"""Configurations by the name of a preset or the path of a file, with overrides on top."""

from __future__ import annotations

from pathlib import Path

from ..config import RunConfig, presets


def load_preset(name: str, *overrides: str) -> RunConfig:
    """The preset called `name` (see `preset_names`), with ``section.field=value`` overrides on top.

    Raises:
        ConfigError: there is no such preset or field, or a value does not fit; the message names it.
    """
    return presets.load_config(preset=name, overrides=overrides)


def load_config(path: Path | str, *overrides: str) -> RunConfig:
    """The YAML file at `path`, e.g. the config.yaml of a run, with ``section.field=value`` overrides on top.

    Raises:
        ConfigError: the file cannot be read, or a field or value does not fit; the message names it.
    """
    return presets.load_config(file=Path(path), overrides=overrides)
