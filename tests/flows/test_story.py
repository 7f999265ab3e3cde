"""What a run tells in the UI while it runs: a stage that fails has the ones before it told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from tests.conftest import SMALL
from tests.processes import api, run_ssb

COMMAND = ("run", "--preset", "quickstart", *(a for s in SMALL for a in ("--set", s)), "--name", "told")


def test_a_run_that_fails_has_told_what_it_finished(served: dict[str, str], tmp_path: Path) -> None:
    done = run_ssb(*COMMAND, "--set", "target_traces=200", "--set", "distill.held_out=150", env=served, cwd=tmp_path)
    assert done.returncode == 1 and "held out" in done.stderr
    (latest,) = api(served, "/flow_runs/filter", sort="START_TIME_DESC", limit=1)
    assert latest["state_type"] == "FAILED"
    mine = {"flow_run_id": {"any_": [latest["id"]]}}
    keys = sorted(a["key"] for a in api(served, "/artifacts/filter", artifacts=mine) if a["key"])
    assert keys == ["ssb-0-plan", "ssb-1-rollouts", "ssb-2-selection", "ssb-3-solution", "ssb-4-signal"]
    folder = tmp_path / "runs" / "told"
    assert (folder / "stages.json").exists() and not (folder / "summary.json").exists()


def test_prefects_temporary_server_is_told_too(alone: dict[str, str], tmp_path: Path) -> None:
    home = tmp_path / "prefect"
    done = run_ssb(*COMMAND, "--to", "select", env=alone | {"PREFECT_HOME": str(home)}, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with closing(sqlite3.connect(home / "prefect.db")) as database:
        keys = {key for (key,) in database.execute("SELECT key FROM artifact WHERE key LIKE 'ssb-%'")}
    assert keys == {"ssb-0-plan", "ssb-1-rollouts", "ssb-2-selection", "ssb-7-report"}
