"""``ssb status``: states of runs and stages from the disk alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssb_core.config import RunConfig
from ssb_core.runs import Run, status
from ssb_core.runs.pipeline import Pipeline
from ssb_core.store import lock
from tests.support.cli import ssb
from tests.support.runs import copied


@pytest.fixture
def copy(quick_run: Run, tmp_path: Path) -> Run:
    """A finished run in a store of its own."""
    return copied(quick_run, tmp_path)


def test_status_reports_runs_and_stages_from_the_disk(copy: Run, small: RunConfig) -> None:
    begun = Run(copy.directory.parent / "begun", copy.store)
    begun.directory.mkdir()
    shutil.copy(copy.directory / "config.yaml", begun.directory)
    spec = Pipeline.of(small, copy.store.root).wave(0, 64).rollouts
    begun.note_begun(spec, "rollouts wave 1")
    states = {r.name: r for r in status.runs(copy.directory.parent, copy.store)}
    assert states["quick"].state == "finished" and "nano-test: base" in states["quick"].detail
    assert states["begun"].state == "unfinished" and states["begun"].detail.startswith("rollouts wave 1, 2 shards")
    with lock.acquire(copy.store.directory(spec.recipe) / "writer.lock", "rollouts", print):
        (working,) = (r for r in status.runs(copy.directory.parent, copy.store) if r.name == "begun")
        assert working.state == "at work" and f"process {os.getpid()}" in working.detail
        code, output = ssb("status", "--runs", str(copy.directory.parent), run=copy)
    assert code == 0 and max(map(len, output.splitlines())) <= 100
    assert "at work" in output and " finished " in output and "evaluate" in output and "[" not in output


def test_status_needs_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from flows.cli.main import app; "
        "r = CliRunner().invoke(app, ['status', '--store', '/nowhere', '--runs', '/nowhere']); "
        "assert r.exit_code == 0, r; "
        "print([m for m in ('torch', 'pyarrow', 'prefect', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
