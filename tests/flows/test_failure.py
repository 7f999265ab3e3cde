"""A failure that the user must fix is one message without a retry, and earlier stages have their pages."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import api, quickstart, run_ssb
from tests.support.settings import SMALL

REFUSED = (*SMALL, "target_traces=200", "distill.held_out=150")
COMMAND = quickstart("run", REFUSED, "--name", "refused")


def test_a_stage_that_refuses_is_one_message_and_finished_stages_have_pages(
    served: dict[str, str], tmp_path: Path
) -> None:
    done = run_ssb(*COMMAND, env=served, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.count("held out") == 1 and "Traceback" not in done.stderr, done.stderr
    (latest,) = api(served, "/flow_runs/filter", sort="START_TIME_DESC", limit=1)
    assert latest["state_type"] == "FAILED"
    mine = {"flow_run_id": {"any_": [latest["id"]]}}
    keys = sorted(a["key"] for a in api(served, "/artifacts/filter", artifacts=mine) if a["key"])
    expected = ["ssb-0-plan", "ssb-1-rollouts", "ssb-2-selection", "ssb-3-solution", "ssb-4-signal"]
    assert [k for k in keys if "progress" not in k] == expected  # stages of 10 s and more have progress artifacts
    folder = tmp_path / "runs" / "refused"
    assert [p.name for p in folder.iterdir()] == ["unfinished"] and (folder / "unfinished" / "stages.json").exists()
