"""The rows of the leaderboard."""

from __future__ import annotations

import json
from pathlib import Path

from ssb_core.report import leaderboard
from ssb_core.runs import Run
from ssb_core.store import write_json
from tests.support.runs import copied


def test_the_latest_run_is_first_then_the_best_of_the_same_preset(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    for name, preset, gain in (("worse", "quickstart", -0.2), ("better", "quickstart", 0.2), ("other", "paper", 0.3)):
        other = Run(run.directory.parent / name, run.store)
        other.directory.mkdir()
        (other.directory / "config.yaml").write_bytes((run.directory / "config.yaml").read_bytes())
        summary = run.load_summary() | {"run": name, "preset": preset}
        for score in summary["benchmarks"]["nano-test"]["models"].values():
            score["accuracy"] += gain
        write_json(other.directory / "summary.json", summary)
    (run.directory.parent / "damaged").mkdir()
    (run.directory.parent / "damaged" / "summary.json").write_text("{")
    rows = leaderboard.rows(run)
    assert [row["run"] for row in rows] == ["quick", "quick", "better", "better", "worse", "worse"]
    assert [row["model"] for row in rows[:2]] == ["base", "ssb"]
    assert rows[0]["base"] == "nano" and rows[0]["data"] == "nano-train"
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
