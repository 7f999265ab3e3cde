"""Load a configuration: a preset that ships with the package or a YAML file, with overrides on top."""

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

YAML_ERRORS = (
    yaml.YAMLError,
    ValueError,
    TypeError,
    AttributeError,
    KeyError,
    RecursionError,
)  # PyYAML raises all of these, e.g. for a tag with a wrong value
MAX_ERRORS = 20  # that are listed for one configuration
_FOLDER = resources.files(__package__) / "presets"


def preset_names() -> list[str]:
    """The names of the presets that ship with the package."""
    return sorted(p.name.removesuffix(".yaml") for p in _FOLDER.iterdir() if p.name.endswith(".yaml"))


def load_config(preset: str | None = None, file: Path | None = None, overrides: Iterable[str] = ()) -> RunConfig:
    """Load and validate a configuration.

    Args:
        preset: the name of a preset, or None.
        file: the path of a YAML file, or None. Exactly one of `preset` and `file` is given.
        overrides: changes on top, such as ``rollouts.samples=8``. The value is YAML, and a number in the path picks an
            item of a list.

    Raises:
        ConfigError: the preset or file does not exist, the YAML is not valid, or a field is unknown or has a wrong
            value. The message names the field.
    """
    source, text = _read(preset, file)
    try:
        tree = yaml.safe_load(text)
    except YAML_ERRORS as e:
        raise ConfigError(f"{source} is not valid YAML: {e!s:.1000}") from None
    if not isinstance(tree, dict):
        raise ConfigError(f"{source} must be a mapping of sections (model, problems, ...)")
    return build(tree, source, overrides)


def build(tree: dict[str, Any], source: str, overrides: Iterable[str] = ()) -> RunConfig:
    """Validate a configuration given as a tree, with overrides on top. Messages call it `source`.

    Raises:
        ConfigError: a field is unknown or has a wrong value.
    """
    for override in overrides:
        _override(tree, override)
    try:
        return RunConfig.model_validate(tree)
    except ValidationError as e:
        raise ConfigError(f"{source} cannot be used:\n{_explain(e)}") from None


def _read(preset: str | None, file: Path | None) -> tuple[str, str]:
    """The name of the configuration for messages, and its text."""
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
    """Apply one override, ``a.b=c``, to the `tree`."""
    path, equals, value = override.partition("=")
    if not equals or not all(path.split(".")):
        raise ConfigError(f"--set {override}: write it as section.field=value, e.g. --set rollouts.samples=8")
    *parents, last = path.split(".")
    node: Any = tree
    try:
        for key in parents:
            node = node[int(key)] if isinstance(node, list) else node.setdefault(key, {})
        node[int(last) if isinstance(node, list) else last] = yaml.safe_load(value)
    except (IndexError, *YAML_ERRORS):
        raise ConfigError(f"--set {override:.200}: {path!r:.200} is not a field of the configuration") from None


def _explain(error: ValidationError) -> str:
    """One line per error: the field, the problem and the given value."""
    lines = []
    for e in error.errors(include_url=False)[:MAX_ERRORS]:
        field = ".".join(map(str, e["loc"])) or "configuration"
        if e["type"] == "extra_forbidden":
            lines.append(f"  {field}: no such field")
        elif e["type"] == "missing":
            lines.append(f"  {field}: required, but missing")
        else:
            several = isinstance(e["input"], dict) and e["type"] == "value_error"  # the message names the fields
            given = "" if several else f" (got {_quoted(e['input'])})"
            lines.append(f"  {field}: {e['msg'].removeprefix('Value error, ')}{given}")
    if error.error_count() > MAX_ERRORS:
        lines.append(f"  and {error.error_count() - MAX_ERRORS} more")
    return "\n".join(lines)


def _quoted(value: Any) -> str:
    """A value in at most 80 characters, without passwords. Its full text could fill the memory (YAML aliases)."""
    try:
        return f"{hide_passwords(reprlib.repr(value)):.80}"
    except ValueError:  # Python refuses to print a number of more than 4300 digits
        return f"{type(value).__name__} of many digits"
