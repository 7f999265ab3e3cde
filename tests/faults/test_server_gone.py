"""A Prefect server that ends in the middle of a run: no finished work is lost."""

from __future__ import annotations

import subprocess
from pathlib import Path

import psutil
import pytest

from ssb_core.config import presets
from ssb_core.store import Store
from tests.support.processes import FAULTY, SSB, quickstart, serving
from tests.support.runs import run_stages
from tests.support.served import until
from tests.support.settings import SMALL
from tests.support.store_files import committed

FOUR = (*SMALL, "execution.shard_size=8")  # shards in a wave
COMMAND = [*SSB, *quickstart("run", FOUR, "--to", "rollouts")]


def test_a_server_that_ends_in_the_middle_of_a_run_costs_no_work(alone: dict[str, str], tmp_path: Path) -> None:
    store, log = tmp_path / "store", tmp_path / "log.txt"
    (tmp_path / "rollouts").write_text("slow 3")
    with log.open("w") as out, serving(alone, tmp_path, "--no-ui") as env:
        # Prefect tries each request 5 times more by default, which takes minutes.
        faulty = {"PYTHONPATH": FAULTY, "SSB_TEST_FAULTS": str(tmp_path), "PREFECT_CLIENT_MAX_RETRIES": "1"}
        run = subprocess.Popen(COMMAND, env=env | faulty, cwd=tmp_path, stdout=out, stderr=out)
        until(lambda: len(committed(store)) >= 1, 120, log.read_text)
    (tmp_path / "rollouts").unlink()
    run.wait(240)
    finished = committed(store)
    assert len(finished) == 4, log.read_text()
    assert run.returncode == 1 and "error: the Prefect server no longer answers" in log.read_text()
    again = run_stages(
        presets.load_config("quickstart", overrides=FOUR), Store(store), tmp_path / "again", stop="rollouts"
    )
    assert [row.status for row in again.load_stages()] == ["cached"] and committed(store) == finished


@pytest.mark.soak
def test_a_temporary_server_that_is_killed_is_started_again_and_the_run_goes_on(
    alone: dict[str, str], tmp_path: Path
) -> None:
    log = tmp_path / "log.txt"
    (tmp_path / "rollouts").write_text("slow 3")  # no request is on its way while the stage runs
    with log.open("w") as out:
        faulty = {"PYTHONPATH": FAULTY, "SSB_TEST_FAULTS": str(tmp_path)}
        run = subprocess.Popen(COMMAND, env=alone | faulty, cwd=tmp_path, stdout=out, stderr=out)
    until(lambda: len(committed(tmp_path / "store")) >= 1, 120, log.read_text)
    (server,) = [p for p in psutil.Process(run.pid).children() if "uvicorn" in p.cmdline()]
    server.kill()
    assert run.wait(240) == 0, log.read_text()
