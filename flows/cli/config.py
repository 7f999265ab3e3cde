"""``ssb config`` and ``ssb presets``: print configurations to start from, and their JSON Schema."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from .errors import clean_errors
from .options import ConfigOption, PresetOption, SetOption, load

DEFAULT_PRESET = "quickstart"
SCHEMA_FILE = "ssb.schema.json"


class Printed(StrEnum):
    """What `ssb config` prints instead of a configuration."""

    schema = "schema"


def config(
    printed: Annotated[
        Printed | None, typer.Argument(metavar="schema", help="Print the JSON Schema of all configurations instead.")
    ] = None,
    preset: PresetOption = None,
    config_file: ConfigOption = None,
    overrides: SetOption = None,
) -> None:
    """Print a whole configuration to start from: every field with its meaning, its values and its default.

    It is YAML, and ssb run --config reads it. Without --preset and --config it
    is that of the quickstart.

    Examples:

      ssb config --preset paper > mine.yaml
      ssb config --config mine.yaml --set rollouts.samples=8

    Editors complete and check the fields of mine.yaml if this file is beside it:

      ssb config schema > ssb.schema.json
    """
    with clean_errors():
        from ssb_core.config import commented_yaml, schema
        from ssb_core.errors import ConfigError

        if printed:
            if preset or config_file or overrides:
                raise ConfigError("the JSON Schema is the same for every configuration\n  remedy: ssb config schema")
            print(schema.text(), end="")
            return
        chosen = preset or (None if config_file else DEFAULT_PRESET)
        settings = load(chosen, config_file, overrides)
        print(commented_yaml.dump(settings, _head(chosen or str(config_file))), end="")


def presets() -> None:
    """List the configurations that ship with ssb.

    In ssb run and most other commands, --preset chooses one of them, and --set
    changes single fields of it.

    Examples:

      ssb presets
      ssb config --preset paper
    """
    from ssb_core.config import presets as shipped

    for name in shipped.preset_names():
        print(f"{name:<12}{shipped.summarize(name)}")
    print("\nssb run --preset NAME runs one; ssb config --preset NAME prints it.")


def _head(source: str) -> str:
    """The comments at the top of a printed configuration. The first line is for editors."""
    return (
        f"yaml-language-server: $schema={SCHEMA_FILE}\n"
        f"Editors complete and check the fields below if this file is beside it:\n"
        f"  ssb config schema > {SCHEMA_FILE}\n\n"
        f"Every field of {source}, with its meaning and, in brackets, the values that it\n"
        "accepts. You may delete the fields that have their default. To use the file:\n"
        "  ssb run --config FILE"
    )
