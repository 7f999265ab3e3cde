"""Markdown that shows text as text.

What a model wrote is untrusted: it stands in `fenced` blocks and `code` spans, which it cannot end, and so becomes
neither a link nor HTML. `escaped` is for names, which a user gave.
"""

from __future__ import annotations

import base64
import re
import textwrap
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

WIDTH = 96  # columns of a fenced block that a page of the Prefect UI shows without scrolling
AS_IT_IS: Any = {"replace_whitespace": False, "drop_whitespace": False}
NUMBER = re.compile(r"[+-]?\d|$")
SPECIAL = re.compile(r"([\\`*_\[\]<>|~&#/])")


def escaped(text: str) -> str:
    """`text` in one line, without any meaning as Markdown."""
    return SPECIAL.sub(r"\\\1", printable(" ".join(text.split())))


def code(text: str) -> str:
    """`text` in one line as a code span; it must not stand in a table."""
    shown = printable(" ".join(text.split()))
    fence = "`" * (_longest_fence(shown) + 1)
    padding = " " if shown.startswith("`") or shown.endswith("`") or not shown else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def fenced(text: str) -> str:
    """`text` as a block, with its own line breaks and more where lines are long; nothing in it ends the block."""
    fence = "`" * max(3, _longest_fence(text) + 1)
    lines = [part for line in printable(text).splitlines() for part in textwrap.wrap(line, WIDTH, **AS_IT_IS) or [""]]
    return "\n".join((f"{fence}text", *lines, fence))


def _longest_fence(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def printable(text: str) -> str:
    """`text` with U+FFFD for what does not show, or would change the order in which the rest does."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text.expandtabs(4))


def table(rows: Sequence[Mapping[str, str]]) -> str:
    """Rows of cells, which are Markdown already; columns of numbers are set flush right."""
    names = list(rows[0])
    rule = ["---:" if all(NUMBER.match(row[name]) for row in rows) else ":---" for name in names]
    return "\n".join("| " + " | ".join(line) + " |" for line in (names, rule, *(list(r.values()) for r in rows)))


def picture(name: str, png: bytes) -> str:
    """A picture that is part of the page."""
    return f"![{escaped(name)}](data:image/png;base64,{base64.b64encode(png).decode()})"


def beside(columns: Mapping[str, str]) -> str:
    """Texts beside each other under their headings, wrapped, as one fenced block."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = StringIO()
    laid_out = Table(box=None, show_header=False, width=WIDTH, padding=(0, 2, 0, 0))
    for heading in columns:
        laid_out.add_column(heading, ratio=1)
    rule = Text("-" * WIDTH, no_wrap=True, overflow="crop")
    for row in (columns, [rule] * len(columns), columns.values()):
        laid_out.add_row(*(Text(printable(text), overflow="fold") if isinstance(text, str) else text for text in row))
    Console(file=out, width=WIDTH, color_system=None, force_terminal=False, _environ={}).print(laid_out)
    return fenced("\n".join(line.rstrip() for line in out.getvalue().rstrip().splitlines()))
