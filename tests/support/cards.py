"""What a model or data card holds: its front matter, its code and its tables."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml


def card(directory: Path) -> tuple[dict[str, Any], str]:
    """A card's front matter and body."""
    _, front, body = (directory / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(front), body


def code(body: str) -> list[str]:
    """The blocks of Python code in a card's body."""
    return re.findall(r"^```python\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)


def tables(body: str) -> list[list[list[str]]]:
    """Markdown tables as rows of cells, without the line under their heading."""
    found = re.findall(r"(?:^\|.*\|\n)+", body, re.MULTILINE)
    rows = [[re.split(r"(?<!\\) \| ", line[2:-2]) for line in t.splitlines()] for t in found]
    return [[[c.strip() for c in row] for i, row in enumerate(t) if i != 1] for t in rows]
