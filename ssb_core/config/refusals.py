"""The message about a configuration that cannot be used: each wrong field, its line, its value, and what it accepts."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from ..suggest import did_you_mean
from . import schema, words
from .document import Document
from .secrets import hide_passwords

MAX_ERRORS = 20  # that are listed for one configuration
YAML_NAMES = {None: "null", True: "true", False: "false"}


def explain(error: ValidationError, document: Document) -> str:
    """The whole message about all errors of a configuration."""
    found = [e for e in error.errors(include_url=False) if not _repeats(e)]
    lines = list(dict.fromkeys(f"  {_refusal(e, document)}" for e in found[:MAX_ERRORS]))
    if len(found) > MAX_ERRORS:
        lines.append(f"  and {len(found) - MAX_ERRORS} more")
    remedy = "  remedy: correct what is named; ssb config prints every field with its meaning and its values"
    return "\n".join((f"{document.name} cannot be used:", *lines, remedy))


def _repeats(error: Any) -> bool:
    """Whether a list is called too short only because its items are wrong, which other errors say."""
    return bool(error["type"] == "too_short" and error["input"])


def _refusal(error: Any, document: Document) -> str:
    """One error: ``line 7, rollouts.samples: 1 is not an integer from 2 to 10,000``."""
    loc, kind = error["loc"], error["type"]
    path, node = schema.find(loc)
    if kind in ("extra_forbidden", "invalid_key"):
        return _sentence(document, loc, words.unknown_field(loc))
    if kind == "missing":
        where = document.place(path[:-1])
        return f"{where}{_dotted(path)}: required, but missing; it is {words.in_words(node)}"
    if kind == "value_error" and isinstance(error["input"], dict):
        return str(error["ctx"]["error"])  # it names the fields that do not fit together
    if kind == "value_error" and not isinstance(error["input"], bool):
        return _sentence(document, path, f"{error['ctx']['error']} (it is {given(error['input'])})")
    if loc[-1:] == ("[key]",):
        node = schema.find(loc[:-2])[1]["propertyNames"]
    return _sentence(document, path, _mismatch(error["input"], node))


def _sentence(document: Document, path: Sequence[int | str], text: str) -> str:
    return f"{document.place(path)}{_dotted(path)}: {text}"


def _dotted(path: Sequence[int | str]) -> str:
    return ".".join(map(str, path))


def _mismatch(value: Any, node: schema.Schema) -> str:
    """What a value is not, and how to write the one that was probably meant."""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{given(value)} is not a finite number"
    accepted, options = words.in_words(node), schema.resolve(node).get("enum", ())
    return f"{given(value)} is not {accepted}{did_you_mean(value, options) or _hint(value, node, accepted)}"


def _hint(value: Any, node: schema.Schema, accepted: str) -> str:
    section = schema.resolve(node)
    if isinstance(value, str) and "source" in section.get("properties", ()):
        return f"; did you mean {{source: {value:.80}}}?"
    if "items" in section and not isinstance(value, (list, dict)):
        return "; a list is written in brackets: [a, b]"
    if accepted.startswith("text") and isinstance(value, (int, float)):
        return "; put it in quotes"
    return f". {node['description']}" if accepted.startswith("text like") else ""


def given(value: Any) -> str:
    """A value as YAML has it, in at most 80 characters and without passwords.

    Its full text could fill the memory, because aliases of YAML repeat a text without limit.
    """
    if value is None or isinstance(value, bool):
        return YAML_NAMES[value]
    try:
        return f"{hide_passwords(reprlib.repr(value)):.80}"
    except ValueError:  # Python refuses to print a number of more than 4300 digits
        return f"{type(value).__name__} of many digits"
