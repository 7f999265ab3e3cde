"""Benchmarks print tables. With ``--json FILE`` their figures are written to that file too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.measure import Figures, table


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--json", type=Path, help="write the benchmarks' figures to this file")


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Print a named table of rows with the same columns, and keep it for ``--json``."""
    tables: dict[str, list[dict[str, Any]]] = {}

    def show(name: str, rows: list[dict[str, Any]]) -> None:
        tables[name] = rows
        print(f"\n{name}\n{table(rows)}")

    yield show
    if path := request.config.getoption("--json"):
        path.write_text(json.dumps(tables, indent=1) + "\n")
