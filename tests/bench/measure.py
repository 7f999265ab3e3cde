"""Measurements in processes of their own, and the tables in which they are shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUN = "import runpy, sys, ssb_core; del sys.argv[0]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
"""Runs a module as ``python -m`` does, but imports ssb_core before torch, as every program of ours does."""
Figures = Callable[[str, list[dict[str, Any]]], None]
"""Shows a named table of rows with the same columns."""


def measured(module: str, *arguments: object) -> dict[str, Any]:
    """Run a benchmark's module in a process of its own, with the settings of the command line; return its JSON.

    In one process, memory that another way has freed would count as free.
    """
    env = {k: v for k, v in os.environ.items() if k not in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")}
    env |= {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUN, module, *map(str, arguments)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("{")]  # engines print too
    result: dict[str, Any] = json.loads(line)
    return result


def table(rows: list[dict[str, Any]]) -> str:
    """Rows with the same columns, as lines of text below the names of the columns."""
    texts = [list(rows[0]), *([f"{v:,.2f}" if isinstance(v, float) else str(v) for v in r.values()] for r in rows)]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(text, widths, strict=True)) for text in texts)
    return "\n".join(f"  {line}" for line in lines)
