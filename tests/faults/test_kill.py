"""SIGKILL to the whole process group in the middle of every stage, then the same command again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ssb_core.config import presets
from ssb_core.store import Store
from tests.support.processes import SSB, quickstart
from tests.support.runs import run_stages
from tests.support.settings import SMALL
from tests.support.store_files import committed, counter, manifests

SLOWER = (*SMALL, "distill.epochs=8", "execution.shard_size=8")
COMMAND = [*SSB, *quickstart("run", SLOWER)]


def run_until(reached: Callable[[], bool], env: dict[str, str], folder: Path) -> bool:
    """Start the command and kill its process group the moment `reached` holds. False if it ended before."""
    with (folder / "log.txt").open("a") as log:
        process = subprocess.Popen(COMMAND, env=env, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    deadline = time.monotonic() + 150
    while process.poll() is None and time.monotonic() < deadline:
        if reached():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.002)
    assert process.poll() is not None, (folder / "log.txt").read_text()[-2000:]
    return False


@pytest.mark.soak  # test_soak and test_command are the short version
@pytest.mark.timeout(600)
def test_a_run_killed_in_every_stage_ends_as_an_uninterrupted_one(tmp_path: Path, served: dict[str, str]) -> None:
    reference = run_stages(
        presets.load_config("quickstart", overrides=SLOWER), Store(tmp_path / "reference"), tmp_path / "run"
    ).load_summary()
    store = tmp_path / "store"
    points = [
        ("rollouts", "rollouts/*/shards/*.parquet", 2),
        ("teach", "teach/*/shards/*.parquet", 3),
        ("distill", "distill/*/*.work/checkpoint-*/trainer_state.json", 1),
        ("evaluate", "evaluate/*/shards/*.parquet", 4),
    ]
    before: dict[str, int] = {}
    for stage, pattern, enough in points:
        count = counter(store, pattern)
        assert run_until(lambda: count() >= enough, served, tmp_path), f"the run ended before {stage}"  # noqa: B023
        assert not list((tmp_path / "runs").glob("*/summary.json"))
        finished = committed(store)
        assert {p: t for p, t in finished.items() if p in before} == before, f"made again before {stage}"
        before = finished
    assert not run_until(lambda: False, served, tmp_path)

    (path,) = (tmp_path / "runs").glob("*/summary.json")
    summary = json.loads(path.read_text())
    for key in ("fingerprints", "yield", "signal", "benchmarks"):
        assert summary[key] == reference[key]
    assert summary["stages"]["evaluate"]["status"] == "resumed"
    assert manifests(store) == manifests(tmp_path / "reference")
    assert {p: t for p, t in committed(store).items() if p in before} == before
    assert not list(store.rglob("*.tmp")) and not list(store.rglob("*.work"))
