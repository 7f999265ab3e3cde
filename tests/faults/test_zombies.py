"""kill -9 of a deployed run, alone and with its worker, and a server that goes away: no finished work is lost."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import SMALL
from tests.faults.test_kill import committed, count
from tests.processes import SSB
from tests.processes import serving as server
from tests.served import Served, serving, until

pytestmark = pytest.mark.timeout(900)
MANY = (*SMALL, "problems.limit=128", "target_traces=100", "rollouts.samples=8", "execution.shard_size=8")
SLOWER = (*MANY, "distill.epochs=20", "distill.save_steps=10")


def shards(store: Path, stage: str) -> Callable[[], int]:
    return lambda: len([p for p in committed(store) if f"/{stage}/" in p])


@pytest.mark.parametrize("kills", [(0, 3), pytest.param((0, 1, 2, 3), marks=pytest.mark.soak)])
def test_killed_alone_and_with_its_worker_runs_are_marked_crashed_and_the_next_goes_on(
    kills: tuple[int, ...], tmp_path: Path
) -> None:
    """Alone and with its worker, in rollouts and in distill; the long version all four, one after the other."""
    with serving(tmp_path) as served:
        store = served.store
        rollouts = shards(store, "rollouts")
        checkpoints = count(store, "distill/*/*.work/checkpoint-*/trainer_state.json")
        points = (
            ("ssb/quickstart", lambda: rollouts() >= 2, False),
            ("ssb/quickstart", lambda: rollouts() >= 4, True),
            # Of the other pool, for the slot of the last is held still.
            ("ssb/evaluate", lambda: checkpoints() >= 1, False),
            ("ssb/evaluate", lambda: checkpoints() >= 2, True),
        )
        seen: dict[str, int] = {}
        killed = []
        for deployment, reached, with_worker in (points[n] for n in kills):
            id = served.schedule(deployment, SLOWER)
            until(reached, 200, lambda: served.told(id))  # noqa: B023
            kill(served, id, with_worker)
            killed.append(id)
            finished = committed(store)
            assert {p: t for p, t in finished.items() if p in seen} == seen, "a finished shard was redone"
            seen = finished
        last = served.schedule("ssb/evaluate", SLOWER)
        assert served.wait(last)["state"]["type"] == "COMPLETED"
        assert {p: t for p, t in committed(store).items() if p in seen} == seen
        assert not list(store.rglob("*.tmp")) and not list(store.rglob("*.work"))
        for id in killed:
            assert served.wait(id, {"CRASHED"}, 180)["state"]["type"] == "CRASHED"
        assert "No heartbeat for 90 seconds" in served.run(killed[-1])["state"]["message"]
        assert "is started again" in served.log.read_text()


def kill(served: Served, id: str, with_worker: bool) -> None:
    """SIGKILL to the process of a run, and before it to the worker that would have told of it."""
    flow, *below = served.pids(id)
    if with_worker:
        worker = flow.parent()
        assert worker and "worker" in worker.cmdline()
        worker.kill()
    flow.kill()
    until(lambda: not any(p.is_running() and p.status() != "zombie" for p in (flow, *below)), 20)


def test_a_server_that_goes_away_in_the_middle_costs_no_work(alone: dict[str, str], tmp_path: Path) -> None:
    command = [*SSB, "run", "--preset", "quickstart", *(a for s in MANY for a in ("--set", s)), "--to", "rollouts"]
    store = tmp_path / "store"
    with (tmp_path / "log.txt").open("w") as log, server(alone, tmp_path) as env:
        hasty = {"PREFECT_CLIENT_MAX_RETRIES": "1"}  # Prefect's own 5 take minutes before it gives up
        run = subprocess.Popen(command, env=env | hasty, cwd=tmp_path, stdout=log, stderr=log)
        until(lambda: shards(store, "rollouts")() >= 2, 120, (tmp_path / "log.txt").read_text)
    told = (tmp_path / "log.txt").read_text
    run.wait(240)
    finished = committed(store)
    assert len(finished) == 16 and list(store.glob("rollouts/*/manifests/*.json")), told()
    assert run.returncode == 1 and "error: the Prefect server cannot be reached any more" in told()
    again = subprocess.run(command, env=alone, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0 and "rollouts wave 1: cached" in again.stderr, again.stderr
    assert committed(store) == finished
