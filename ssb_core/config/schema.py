"""The JSON Schema of a configuration: for editors, and for all pages and messages that explain a field.

``make reference`` writes it to schema.json beside this file; the presets name that file, so that editors complete and
check their fields. tests/config/test_schema.py fails when the file is stale.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from .settings import RunConfig

Schema = dict[str, Any]


class _Untitled(GenerateJsonSchema):
    """No titles of fields, since they only repeat names; and the dialect that all editors know."""

    schema_dialect = "http://json-schema.org/draft-07/schema#"

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


@cache
def load() -> Schema:
    """The schema of `RunConfig`. Callers must not change it."""
    schema = RunConfig.model_json_schema(schema_generator=_Untitled)
    return {"$schema": _Untitled.schema_dialect, **schema, "title": "The configuration of a run of ssb"}


def text() -> str:
    """The schema as the text of a JSON file."""
    return json.dumps(load(), indent=1, ensure_ascii=False) + "\n"


def resolve(node: Schema) -> Schema:
    """The section that a field refers to; a field with values of its own is returned as it is."""
    return load()["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node


def find(path: Sequence[int | str]) -> tuple[tuple[int | str, ...], Schema]:
    """The field at `path`, e.g. ``("evaluate", "benchmarks", 0, "name")``.

    Returns the part of the path that leads to a known field or section, and its schema, not resolved.
    """
    node, known = load(), []
    for key in path:
        inside = _inside(resolve(node), key)
        if inside is None:
            break
        known.append(key)
        node = inside
    return tuple(known), node


def _inside(node: Schema, key: int | str) -> Schema | None:
    if isinstance(key, int):
        return node.get("items")
    others = node.get("additionalProperties")
    inside: Schema | None = node.get("properties", {}).get(key, others if isinstance(others, dict) else None)
    return inside


def field_paths(node: Schema | None = None, above: str = "") -> list[str]:
    """The dotted paths of all fields and sections (inside a node), in order; the item of a list is number 0."""
    paths = []
    for name, field in resolve(node or load()).get("properties", {}).items():
        path = f"{above}{name}"
        inner = field_paths(field["items"], f"{path}.0.") if "items" in field else field_paths(field, f"{path}.")
        paths += [path, *inner]
    return paths


if __name__ == "__main__":
    print(text(), end="")
