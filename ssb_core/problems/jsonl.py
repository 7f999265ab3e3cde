"""JSON lines from untrusted files. Every error names the file, the line and the field."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import IO, Any

from ..errors import ConfigError

MAX_LINE_BYTES = 2**24  # a longer line is not a row: the file is of another kind


def read_lines(file: IO[bytes]) -> Iterator[bytes]:
    """The lines of a file. A line that is too long is cut to save memory; `parse_lines` then refuses it."""
    return iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")


def parse_lines(lines: Iterable[bytes], name: str) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield the JSON object of every line that is not blank, and the line's number (from 1).

    Args:
        lines: the lines, as `read_lines` gives them.
        name: the file's name, for error messages.

    Raises:
        ConfigError: a line is longer than 16 MiB, not UTF-8, not JSON or not an object.
    """
    for number, line in enumerate(lines, start=1):
        where = f"{name} line {number}"
        if len(line) > MAX_LINE_BYTES:
            raise ConfigError(
                f"{where}: longer than {MAX_LINE_BYTES} bytes\n  remedy: write one JSON object on each line"
            )
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


def field_text(value: Any, field: str, where: str) -> str:
    """The value of a field as text. Numbers are written out in full, without an exponent.

    Raises:
        ConfigError: `value` is neither text nor a finite number. The message names `where` and the `field`.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{Decimal(value):f}"  # works for any length; str() refuses more than 4,300 digits
    exact = Decimal(repr(value)) if isinstance(value, float) else value
    if isinstance(exact, Decimal) and exact.is_finite():
        return f"{exact.to_integral_value() if exact == exact.to_integral_value() else exact:f}"
    if not isinstance(value, str):
        raise ConfigError(f"{where}: field {field!r} must be text or a finite number, found {value!r:.60}")
    return value
