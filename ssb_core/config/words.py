"""The fields of a configuration in words: the values that they accept, and what is meant by one that does not exist."""

from __future__ import annotations

from collections.abc import Sequence

from ..suggest import nearest
from .schema import Schema, field_paths, find, resolve

WORDS = {"string": "text", "boolean": "true or false", "null": "null", "integer": "an integer", "number": "a number"}
MAX_NAMES = 6  # of the fields of a section
BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
}


def in_words(node: Schema) -> str:
    """The values that a field accepts, for example ``an integer of at least 1, or null``."""
    node = resolve(node)
    if "anyOf" in node:
        examples = {"examples": node["examples"]} if "examples" in node else {}
        return ", or ".join(in_words(examples | choice) for choice in node["anyOf"])
    if "enum" in node:
        return either(node["enum"])
    if "items" in node:
        some = "a list of at least one of: " if node.get("minItems") else "a list of: "
        return some + in_words(node["items"])
    if node["type"] == "object":
        return _mapping_in_words(node)
    if node["type"] == "string":
        return _text_in_words(node)
    return f"{WORDS[node['type']]} {_bounds_in_words(node)}".strip()


def either(choices: Sequence[str]) -> str:
    """Choices in words: ``a, b or c``."""
    *first, last = choices
    return f"{', '.join(first)} or {last}" if first else last


def _mapping_in_words(node: Schema) -> str:
    if "properties" in node:
        some, more = list(node["properties"])[:MAX_NAMES], ", ..." if len(node["properties"]) > MAX_NAMES else ""
        return f"a section with fields ({', '.join(some)}{more})"
    return (
        f"a mapping; its keys: {in_words(node['propertyNames'])}; its values: {in_words(node['additionalProperties'])}"
    )


def _text_in_words(node: Schema) -> str:
    if "examples" in node:
        return f"text like {either(node['examples'])}"
    return "text that is not empty" if node.get("minLength") else "text"


def _bounds_in_words(node: Schema) -> str:
    if "minimum" in node and "maximum" in node:
        return f"from {_number(node['minimum'])} to {_number(node['maximum'])}"
    bounds = [words.format(_number(node[key])) for key, words in BOUNDS.items() if key in node]
    of = "of " if bounds and bounds[0].startswith("at") else ""
    return of + " and ".join(bounds)


def _number(value: float) -> str:
    return f"{value:,}".removesuffix(".0")


def unknown_field(path: Sequence[int | str]) -> str:
    """A message about a field that does not exist. It names the field that is meant, or all that there are."""
    known, section = find(path)
    place = _dotted(known) or "a configuration"
    if "items" in section:
        return f"{place} is a list; write the number of an item, such as {place}.0"
    if meant := _meant(path):
        return f"no such field; did you mean {either(meant)}?"
    fields = list(resolve(section).get("properties", ()))
    return f"no such field; {place} has {', '.join(fields)}" if fields else f"no such field; {place} has no fields"


def _meant(path: Sequence[int | str]) -> list[str]:
    """The fields that may be meant: one with a similar name in the same section, or the same name in another one."""
    known, section = find(path)
    siblings = resolve(section).get("properties", {})
    wrong, rest = str(path[len(known)]), path[len(known) + 1 :]
    for near in nearest(wrong, siblings):
        longer, _ = find((*known, near, *rest))
        return [_dotted(longer)]
    everywhere = [p for p in field_paths() if ".0." not in p and "." in p]
    leaf = str(path[-1])
    same = [p for p in everywhere if p.rpartition(".")[2] == leaf]
    return same or _with_leaf_near(leaf, everywhere) or ([] if known else nearest(_dotted(path), everywhere))


def _with_leaf_near(leaf: str, paths: Sequence[str]) -> list[str]:
    near = nearest(leaf, (p.rpartition(".")[2] for p in paths))
    return [p for p in paths if p.rpartition(".")[2] in near]


def _dotted(path: Sequence[int | str]) -> str:
    return ".".join(map(str, path))
