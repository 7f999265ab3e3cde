"""Benchmarks print tables; with ``--json FILE`` their figures are written there too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
Figures = Callable[[str, list[dict[str, Any]]], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--json", type=Path, help="write the benchmarks' figures to this file")


def measured(module: str, *arguments: object) -> dict[str, Any]:
    """What a benchmark's module prints as JSON, in a process of its own, with the settings of the command line.

    Apart, because memory freed by another way would count as free.
    """
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"}
    env |= {"PYTHONPATH": str(ROOT), "GOMP_SPINCOUNT": "1000"}
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (said,) = [line for line in done.stdout.splitlines() if line.startswith("{")]  # engines print too
    found: dict[str, Any] = json.loads(said)
    return found


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same columns, as lines of text under their names."""
    texts = [list(rows[0]), *([f"{v:,.2f}" if isinstance(v, float) else str(v) for v in r.values()] for r in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(text, widths, strict=True)) for text in texts)
    return "\n".join(f"  {line}" for line in lines)


@pytest.fixture(scope="session")
def figures(request: pytest.FixtureRequest) -> Iterator[Figures]:
    """Prints a named table of rows with the same columns, and keeps it for ``--json``."""
    tables: dict[str, list[dict[str, Any]]] = {}

    def show(name: str, rows: list[dict[str, Any]]) -> None:
        tables[name] = rows
        print(f"\n{name}\n{table(rows)}")

    yield show
    if path := request.config.getoption("--json"):
        path.write_text(json.dumps(tables, indent=1) + "\n")
