"""``ssb runs``: a table that fits the terminal, and JSON with everything."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from flows.cli import console
from flows.cli.runs import fitting_table
from ssb_core.results.run_list import ListedRun
from ssb_core.runs import Run


def listed(name: str, **changes: Any) -> ListedRun:
    fields = {f"distill.field_{i}": f"{name} {i}" for i in range(6)}
    accuracy = {"math500": {"base": 0.376, "ssb": 0.554, "grpo": 0.448}}
    given = {"fields": fields, "accuracy": accuracy, "traces": 256, "seconds": 7500.0, **changes}
    return ListedRun(name, given.pop("state", "finished"), 0.0, "", **given)


@pytest.mark.parametrize("width", [80, 170])
def test_a_table_fits_its_terminal_and_names_what_it_leaves_out(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    output = io.StringIO()
    monkeypatch.setattr(console, "console", Console(width=width, file=output))
    alone = listed("adapter", accuracy={"math500": {"adapter": 0.5}}, traces=None)
    table, left_out = fitting_table([listed("one"), alone, ListedRun("begun", "failed", 0.0, "distill")])
    console.console.print(table)
    text = output.getvalue()
    assert max(map(len, text.splitlines())) <= width
    assert "37.6 → 55.4" in text and "adapter 50.0" in text and "failed" in text and "one 0" in text
    assert [f"field_{i}" in text for i in range(6)] == [f"distill.field_{i}" not in left_out for i in range(6)]
    assert bool(left_out) == (width == 80) and ("2 h 05 min" in text) == (width == 170)


def test_json_has_everything_and_an_empty_folder_says_so(
    quick_run: Run, ssb_here: Callable[..., Any], tmp_path: Path
) -> None:
    store = ("--store", str(quick_run.store.root))
    done = ssb_here("runs", "--json", *store, "--runs", str(quick_run.directory.parent), cwd=tmp_path)
    (row,) = (row for row in json.loads(done.stdout) if row["name"] == "quick")
    assert (
        done.returncode == 0 and row["state"] == "finished" and row["accuracy"]["nano-test"].keys() == {"base", "ssb"}
    )
    done = ssb_here("runs", *store, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "no runs in runs yet; start one with: ssb run --preset quickstart\n")
