"""Benchmarks print tables; with ``--json FILE`` their figures are written there too."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Figures = Callable[[str, list[dict[str, Any]]], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--json", type=Path, help="write the benchmarks' figures to this file")


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Prints a named table of rows with the same columns, and keeps it for ``--json``."""
    tables: dict[str, list[dict[str, Any]]] = {}

    def show(name: str, rows: list[dict[str, Any]]) -> None:
        tables[name] = rows
        texts = [list(rows[0]), *([f"{v:,.2f}" if isinstance(v, float) else str(v) for v in r.values()] for r in rows)]
        widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
        print(f"\n{name}")
        for text in texts:
            print("  " + "  ".join(cell.rjust(width) for cell, width in zip(text, widths, strict=True)))

    yield show
    if path := request.config.getoption("--json"):
        path.write_text(json.dumps(tables, indent=1) + "\n")
