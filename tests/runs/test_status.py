"""``ssb status``: states of runs and stages from the disk alone."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ssb_core.config import RunConfig
from ssb_core.runs import Run, status
from ssb_core.runs.entries import Phase
from ssb_core.runs.pipeline import Pipeline
from tests.support.cli import ssb
from tests.support.runs import copied


@pytest.fixture
def copy(quick_run: Run, tmp_path: Path) -> Run:
    """A finished run in a store of its own."""
    return copied(quick_run, tmp_path)


def test_status_reports_runs_and_stages_from_the_disk(copy: Run, small: RunConfig) -> None:
    runs = copy.directory.parent
    begun = Run(runs / "begun", copy.store)
    draft = begun.begin(small)
    draft.note_begun(Pipeline.of(small, copy.store.root).wave(0, 64).rollouts, "rollouts wave 1")
    draft.note_phase(Phase("rollouts", "samples", 256, 100, 20, 8.0, time.time()))

    def state() -> tuple[str, str]:
        (row,) = (r for r in status.runs(runs, copy.store) if r.name == "begun")
        return row.state, row.detail

    states = {r.name: r for r in status.runs(runs, copy.store)}
    assert states["quick"].state == "finished" and "nano-test: base" in states["quick"].detail
    assert state() == ("unfinished", "rollouts wave 1: 100/256 samples")
    with begun.exclusive(print):
        far = f"rollouts wave 1: 100/256 samples, 10.0 samples/s, 0:00:16 left; process {os.getpid()}, at work since "
        assert state()[0] == "at work" and state()[1].startswith(far)
        code, output = ssb("status", "--runs", str(runs), run=copy)
    assert code == 0 and max(map(len, output.splitlines())) <= 100
    assert "at work" in output and " finished " in output and "evaluate" in output and "[" not in output
    draft.note_failure("rollouts", "rollouts wave 1", RuntimeError("no \x1b[31m memory\n  remedy: buy some"))
    assert state() == ("failed", "rollouts wave 1: no \ufffd[31m memory")
    again = copy.begin(small)
    again.note_failure("teach", "teach wave 1", RuntimeError(""))
    states = {r.name: r for r in status.runs(runs, copy.store)}
    assert states["quick"].detail == "teach wave 1: RuntimeError; its earlier results are kept"
    assert not (begun.directory / "run.lock").exists()


def test_status_needs_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from flows.cli.main import app; "
        "r = CliRunner().invoke(app, ['status', '--store', '/nowhere', '--runs', '/nowhere']); "
        "assert r.exit_code == 0, r; "
        "print([m for m in ('torch', 'pyarrow', 'prefect', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
