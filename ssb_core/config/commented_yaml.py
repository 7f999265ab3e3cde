"""A configuration as YAML in which every field has a comment: its meaning, the values it accepts and its default.

`ssb config` prints it, and every run writes it to its config.yaml. It is read back as the same configuration.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from . import schema, words
from .settings import RunConfig

WIDTH = 80
INDENT = "  "
HEAD = """The complete configuration of a run: every field with its meaning and, in
brackets, the values that it accepts. To use it again: ssb run --config FILE"""


def dump(config: RunConfig, head: str = HEAD) -> str:
    """The YAML text of a configuration. The lines of `head` become comments at its top."""
    top = "".join(f"# {line}".rstrip() + "\n" for line in head.splitlines())
    return top + "\n".join(_section(schema.load(), config.model_dump(mode="json"), "")) + "\n"


def _section(section: schema.Schema, values: Mapping[str, Any], indent: str, commented: bool = True) -> Iterator[str]:
    """The lines of a section's fields; at the top level with a blank line before each."""
    required = section.get("required", ())
    for name, field in section["properties"].items():
        if not indent:
            yield ""
        if commented:
            yield from _comment(field, name in required, indent)
        yield from _field(name, field, values[name], indent, commented)


def _field(name: str, field: schema.Schema, value: Any, indent: str, commented: bool) -> Iterator[str]:
    items = schema.resolve(field.get("items", {}))
    if "$ref" in field:
        yield f"{indent}{name}:"
        yield from _section(schema.resolve(field), value, indent + INDENT, commented)
    elif "properties" in items and value:
        yield f"{indent}{name}:"
        for number, item in enumerate(value):  # the comments of the first item serve all
            yield from _item(_section(items, item, indent + 2 * INDENT, commented and not number), indent + INDENT)
    else:
        yield f"{indent}{name}: {_plain(value)}"


def _item(lines: Iterator[str], indent: str) -> Iterator[str]:
    """The lines of an item of a list, with a dash before the first one."""
    yield f"{indent}- {next(lines).lstrip()}"
    yield from lines


def _comment(field: schema.Schema, required: bool, indent: str) -> Iterator[str]:
    text = field["description"]
    if "$ref" not in field:
        default = "required" if required else f"default {_plain(field['default'])}"
        text += f" [{words.in_words(field)}; {default}]"
    prefix = f"{indent}# "
    yield from textwrap.wrap(
        text,
        WIDTH,
        initial_indent=prefix,
        subsequent_indent=prefix,
        break_long_words=False,
        break_on_hyphens=False,
    )


class _Dumper(yaml.SafeDumper):
    """Writes text with line breaks or control characters in double quotes, in one line."""

    def represent_str(self, data: str) -> yaml.ScalarNode:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)


def _plain(value: Any) -> str:
    """A value in one line of YAML."""
    (line,) = yaml.dump([value], Dumper=_Dumper, default_flow_style=True, width=sys.maxsize, allow_unicode=True).split(
        "\n"
    )[:-1]
    return line[1:-1]
