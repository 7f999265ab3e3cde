"""Markdown that shows text as text.

The text of a model is untrusted. It is put into `fenced` blocks and `code` spans, which it cannot end, so it becomes
neither a link nor HTML. `escaped` is for names, which a user gave.
"""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from ..errors import printable

WIDTH = 96  # columns of a fenced block that a page of the Prefect UI shows without scrolling
KEEP_BLANKS: Any = {"replace_whitespace": False, "drop_whitespace": False}
NUMBER = re.compile(r"[+-]?\d|$")
PIPE = re.compile(r"(?<!\\)\|")
SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#/])")


def escaped(text: str) -> str:
    """`text` on one line, without any meaning as Markdown."""
    return SPECIAL.sub(r"\\\1", printable(" ".join(text.split())))


def code(text: str) -> str:
    """`text` on one line as a code span; not for tables."""
    line = printable(" ".join(text.split()))
    ticks = "`" * (_longest_fence(line) + 1)
    padding = " " if line.startswith("`") or line.endswith("`") or not line else ""
    return f"{ticks}{padding}{line}{padding}{ticks}"


def fenced(text: str) -> str:
    """`text` as a block that keeps its line breaks and wraps long lines. Nothing in it can end the block."""
    lines = [
        part for line in printable(text).splitlines() for part in textwrap.wrap(line, WIDTH, **KEEP_BLANKS) or [""]
    ]
    return block("\n".join(lines), "text")


def block(text: str, language: str = "") -> str:
    """`text` exactly as it is, in a block whose fence is longer than any in the text."""
    fence = "`" * max(3, _longest_fence(text) + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def _longest_fence(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of Markdown cells as a table. The names of the first row are the heading; numbers are right-aligned."""
    names = list(rows[0])
    rule = ["---:" if all(NUMBER.match(row[name]) for row in rows) else ":---" for name in names]
    lines = (names, rule, *(list(row.values()) for row in rows))
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    """A cell on one line, in which every pipe is escaped."""
    return PIPE.sub(r"\\|", " ".join(text.split()))


def picture(name: str, png: bytes) -> str:
    """A picture that is part of the page."""
    return f"![{escaped(name)}](data:image/png;base64,{base64.b64encode(png).decode()})"


def beside(columns: Mapping[str, str]) -> str:
    """Texts side by side under their headings, wrapped, as one fenced block."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = StringIO()
    grid = Table(box=None, show_header=False, width=WIDTH, padding=(0, 2, 0, 0))
    for heading in columns:
        grid.add_column(heading, ratio=1)
    rule = Text("-" * WIDTH, no_wrap=True, overflow="crop")
    for row in (columns, [rule] * len(columns), columns.values()):
        grid.add_row(*(Text(printable(text), overflow="fold") if isinstance(text, str) else text for text in row))
    Console(file=out, width=WIDTH, color_system=None, force_terminal=False, _environ={}).print(grid)
    return fenced("\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines()))
