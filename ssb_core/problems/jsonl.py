"""Rows of untrusted files: JSON lines and their fields, every error with the file, the line and the field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import IO, Any

from ..errors import ConfigError

LONGEST = 2**24  # bytes of one line: more is no row, but a file of another kind


def lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file, of a longer one its beginning alone: `json_lines` refuses that."""
    return iter(lambda: file.readline(LONGEST + 1), b"")


def json_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[dict[str, Any], int]]:
    """The JSON object of every line that is not blank, with the line's number; `name` is the file's, for errors.

    Raises:
        ConfigError: a line is longer than 16 MiB, not UTF-8, not JSON or not an object.
    """
    for number, line in enumerate(lines, start=1):
        where = f"{name} line {number}"
        if len(line) > LONGEST:
            raise ConfigError(f"{where}: longer than {LONGEST} bytes\n  remedy: write one JSON object on each line")
        try:
            decoded = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if not decoded.strip():
                continue
            row = json.loads(decoded)
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
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{Decimal(value):f}"  # of any length, where str() refuses long ones
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    if isinstance(exact, Decimal) and exact.is_finite():
        return f"{exact.to_integral_value() if exact == exact.to_integral_value() else exact:f}"
    if not isinstance(value, str):
        raise ConfigError(f"{where}: field {field!r} must be text or a finite number, found {value!r:.60}")
    return value
