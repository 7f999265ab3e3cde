"""``ssb plan`` and ``ssb run --dry-run``: no server, no change, amounts, and what the doctor refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from flows.cli.main import app
from ssb_core.runs import Run
from tests.support.processes import quickstart, run_ssb
from tests.support.settings import SMALL


def test_it_needs_no_server_and_changes_nothing(alone: dict[str, str], tmp_path: Path) -> None:
    done = run_ssb(*quickstart("plan"), env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rollouts wave 1" in done.stdout and "missing" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_names_unverifiable_and_contaminated_problems(ssb_here: Callable[..., Any], tmp_path: Path) -> None:
    for name, unverifiable in (("mine", 5), ("held-out", 1)):
        answers = ["2", *[" "] * unverifiable]
        rows = "".join(json.dumps({"question": "1+1?", "answer": a}) + "\n" for a in answers)
        (tmp_path / f"{name}.jsonl").write_text(rows)
    changes = [
        "target_traces=1",
        "problems={source: mine.jsonl}",
        "evaluate.benchmarks=[{name: held, source: held-out.jsonl}]",
    ]
    done = ssb_here(*quickstart("plan", changes), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "note: mine.jsonl: 5 problems left out, reference answer cannot be used: 'mine-00002' (it is empty), "
        "'mine-00003' (it is empty), 'mine-00004' (it is empty); the whole list: the run's report.html\n"
        "note: benchmark held: 1 problem left out, reference answer cannot be used: 'held-out-00002' (it is empty); "
        "see the run's report.html\n"
        "warning: 1 of held's problems is also among the training problems: 'held-out-00001' (as 'mine-00001'). "
        "The whole list: the run's report.html\n"
    )


def planned(run: Run, *arguments: str, command: tuple[str, ...] = ("plan",)) -> Result:
    changes = [word for change in SMALL for word in ("--set", change)]
    line = [*command, "--preset", "quickstart", *changes, "--store", str(run.store), *arguments]
    return CliRunner().invoke(app, line, env={"COLUMNS": "80"})


def test_a_finished_run_has_nothing_left_to_do(quick_run: Run) -> None:
    done = planned(quick_run)
    assert done.exit_code == 0 and done.stdout.endswith(
        "Everything is in the store, so a run has nothing left to do.\n"
    )
    assert "time" not in done.stdout


def test_it_fits_into_80_columns_with_whole_numbers(quick_run: Run) -> None:
    done = planned(quick_run, "--set", "rollouts.temperature=1.0")
    lines = done.stdout.splitlines()
    assert done.exit_code == 0 and all(len(line) <= 80 and line == line.rstrip() for line in lines)
    assert lines[0].split() == ["request", "status", "samples", "tokens", "time", "disk"]
    assert lines[2] == "    rollouts.temperature: 0.8 -> 1.0" and lines[4] == f"    because {lines[2].strip()}"
    assert "In total: about " in done.stdout and "Estimates come from earlier results" in done.stdout


def test_a_dry_run_is_the_plan_of_its_stages(quick_run: Run) -> None:
    whole = planned(quick_run, "--set", "distill.epochs=3")
    dry = planned(quick_run, "--set", "distill.epochs=3", command=("run", "--dry-run"))
    assert (dry.exit_code, dry.stdout) == (0, whole.stdout)
    part = planned(quick_run, "--to", "teach", "--force", "select", command=("run", "--dry-run"))
    assert [line.split()[3] for line in part.stdout.splitlines()[1:4]] == ["cached", "forced", "cached"]


def test_a_dry_run_refuses_what_the_run_would_refuse(quick_run: Run, tmp_path: Path) -> None:
    ahead = planned(quick_run, "--set", "rollouts.seed=3", "--from", "distill", command=("run", "--dry-run"))
    assert ahead.exit_code == 2 and "--from distill: rollouts wave 1 is not in" in ahead.stderr
    (tmp_path / "file").touch()
    blocked = planned(quick_run, "--runs", str(tmp_path / "file"), command=("run", "--dry-run"))
    assert blocked.exit_code == 2 and "--runs: " in blocked.stderr and "is a file" in blocked.stderr


def test_programs_get_json(quick_run: Run) -> None:
    content = json.loads(planned(quick_run, "--set", "distill.epochs=3", "--json").stdout)
    student = next(r for r in content["requests"] if r["stage"] == "distill")
    assert (student["status"], student["why"]) == ("stale", "distill.epochs: 2 -> 3")
    assert student["seconds"]["certainty"] == "about" and content["total"]["seconds"]["value"] > 0
    assert content["problems"] == [] and content["assumed"] is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("execution.device=cuda", "problem: device: execution.device is cuda, but this machine has none"),
        ("rollouts.max_new_tokens=4000", "problem: use: rollouts.max_new_tokens is 4000, but the model's context"),
        ("model.source=none-such", "model"),
    ],
)
def test_what_the_doctor_refuses_is_refused(change: str, told: str, quick_run: Run) -> None:
    done = planned(quick_run, "--set", "rollouts.seed=3", "--set", change)
    assert done.exit_code == 2 and told in done.stderr and "an estimate needs" not in done.stderr


def test_a_disk_that_is_too_small_is_refused(quick_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1000))
    done = planned(quick_run, "--set", "rollouts.seed=3", "--json")
    (problem,) = json.loads(done.stdout)["problems"]
    assert done.exit_code == 2 and problem["name"] == "disk" and "only 1 kB are free" in problem["message"]
