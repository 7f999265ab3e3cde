"""Rows of untrusted files: JSON lines and their fields, every error with the file, the line and the field."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from .config import ConfigError


def json_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[dict[str, Any], int]]:
    """The JSON object of every line that is not blank, with the line's number; `name` is the file's, for errors.

    Raises:
        ConfigError: a line is not UTF-8, not JSON or not an object.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{name} line {number}"
        try:
            row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except UnicodeDecodeError as e:
            raise ConfigError(f"{where}: not valid UTF-8 ({e.reason} at byte {e.start})") from None
        except (ValueError, RecursionError) as e:
            raise ConfigError(f"{where}: not valid JSON ({e})") from None
        if not isinstance(row, dict):
            raise ConfigError(f"{where}: expected a JSON object, found {type(row).__name__}")
        yield row, number


def text(value: Any, field: str, where: str) -> str:
    """Text as it is, numbers written out in full; whatever else stands in the field is refused.

    Raises:
        ConfigError: `value` is neither text nor a finite number.
    """
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) and math.isfinite(value):
        return f"{Decimal(repr(value)) if isinstance(value, float) else value:f}" if value % 1 else str(int(value))
    if not isinstance(value, str):
        raise ConfigError(f"{where}: field {field!r} must be text or a finite number, found {value!r:.60}")
    return value
