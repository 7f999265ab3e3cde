"""Configurations that ship with the package, and how one is read: a preset or a file, then overrides."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from ..errors import ConfigError
from .secrets import hide_passwords
from .settings import RunConfig

BROKEN = (
    yaml.YAMLError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    RecursionError,
)  # as tags of wrong values are
SHOWN = 20  # errors of one configuration
_FOLDER = resources.files(__package__) / "presets"


def preset_names() -> list[str]:
    """Names of the presets that ship with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _FOLDER.iterdir() if p.name.endswith(".yaml"))


def load_config(preset: str | None = None, file: Path | None = None, overrides: Iterable[str] = ()) -> RunConfig:
    """A validated configuration from a preset or a YAML file, with ``a.b=c`` overrides on top.

    Raises:
        ConfigError: no such preset or file, broken YAML, unknown field or wrong type; the message names the field.
    """
    origin, text = _read(preset, file)
    try:
        tree = yaml.safe_load(text)
    except BROKEN as e:
        raise ConfigError(f"{origin} is not valid YAML: {e!s:.1000}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{origin} must be a mapping of sections (model, problems, ...)")
    for override in overrides:
        _override(tree, override)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as e:
        raise ConfigError(f"{origin} cannot be used:\n{_explain(e)}") from None


def _read(preset: str | None, file: Path | None) -> tuple[str, str]:
    """Where the configuration comes from, in words, and its text."""
    if (preset is None) == (file is None):
        raise ConfigError("give either a preset (--preset NAME) or a configuration file (--config FILE)")
    if file is not None:
        try:
            return f"configuration {file}", file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigError(f"cannot read the configuration {file}: {e}") from None
    if preset not in preset_names():
        raise ConfigError(f"there is no preset {preset!r}; choose one of: {', '.join(preset_names())}")
    return f"preset {preset}", (_FOLDER / f"{preset}.yaml").read_text(encoding="utf-8")


def _override(tree: dict[str, Any], override: str) -> None:
    """Apply one ``a.b=c``; the value is YAML, and a number in the path picks a list item."""
    path, equals, value = override.partition("=")
    if not equals or not all(path.split(".")):
        raise ConfigError(f"--set {override}: write it as section.field=value, e.g. --set rollouts.samples=8")
    *parents, last = path.split(".")
    node: Any = tree
    try:
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[int(last) if isinstance(node, list) else last] = yaml.safe_load(value)
    except (IndexError, *BROKEN):
        raise ConfigError(f"--set {override:.200}: {path!r:.200} is not a place in the configuration") from None


def _explain(error: ValidationError) -> str:
    """One line per problem: the field, what is wrong, what was given."""
    lines = []
    for e in error.errors(include_url=False)[:SHOWN]:
        field = ".".join(map(str, e["loc"])) or "configuration"
        if e["type"] == "extra_forbidden":
            lines.append(f"  {field}: no such field")
        elif e["type"] == "missing":
            lines.append(f"  {field}: required, but missing")
        else:
            lines.append(f"  {field}: {e['msg'].removeprefix('Value error, ')} (got {_quoted(e['input'])})")
    if error.error_count() > SHOWN:
        lines.append(f"  and {error.error_count() - SHOWN} more")
    return "\n".join(lines)


def _quoted(value: Any) -> str:
    """A value in 80 characters, without a URL's password; in full, a few lines of YAML with aliases fill the memory."""
    try:
        return f"{hide_passwords(reprlib.repr(value)):.80}"
    except ValueError:  # Python writes no number of more than 4300 digits
        return f"{type(value).__name__} of many digits"
