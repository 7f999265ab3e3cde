"""Markdown as the Prefect UI reads it, and text that tries to be more than text."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.token import Token

HOSTILE = (
    "````\n# Owned\n</code></pre><script>alert(1)</script><img src=x onerror=alert(2)>\n| a | b |\n|---|---|\n| c | d |"
    "\n[click](javascript:alert(3)) ![x](http://evil.example/x.png) <http://evil.example> `tick` ~~~\n~~~\n\n---\n* i "
    "&lt;b&gt; \x1b[31m \u202eevil $x$ \\boxed{1}\n```````"
)
PICTURE = re.compile(r"!\[([^\]]+)\]\(data:image/png;base64,([^)]+)\)")
"""A picture that is part of the text: its name, and its content in base64."""


def tokens(text: str) -> list[Token]:
    """The block and inline tokens, with tables, HTML and bare links switched on as in the UI."""
    blocks = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    return [token for block in blocks for token in (block, *(block.children or ()))]


def fences(text: str) -> list[str]:
    """The content of every fenced block."""
    return [token.content for token in tokens(text) if token.type == "fence"]


def tables(text: str) -> list[list[list[str]]]:
    """The cells of every table, by row; the second row is the rule."""
    blocks = re.findall(r"(?:^\|.*\n?)+", text, re.MULTILINE)
    return [[[c.strip() for c in line[2:-2].split(" | ")] for line in b.splitlines()] for b in blocks]
