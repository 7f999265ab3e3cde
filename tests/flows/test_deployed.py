"""Deployments on a real server with real workers: run, refused, failed, tried again, retried, cancelled."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from flows.deployed import enter_home
from ssb_core.runs import Run
from tests.conftest import SMALL
from tests.faults.test_kill import committed
from tests.processes import ROOT, SSB
from tests.served import Served, serving, until

pytestmark = pytest.mark.timeout(600)
SLOW = (*SMALL, "problems.limit=512", "target_traces=400", "rollouts.samples=8", "execution.shard_size=8")
ALL = ["rollouts wave 1", "select wave 1", "teach wave 1", "distill"]
EVALUATED = ["evaluate base on nano-test", "evaluate ssb on nano-test"]


@pytest.fixture(scope="module")
def flag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """While it exists, stage distill fails."""
    return tmp_path_factory.mktemp("fault") / "flag"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, flag: Path) -> Iterator[Served]:
    fault = {"PYTHONPATH": str(ROOT / "tests" / "flows" / "fault"), "SSB_TEST_FAULT": f"distill:{flag}"}
    with serving(tmp_path_factory.mktemp("served"), **fault) as found:
        yield found


def test_a_run_of_a_deployment_completes_and_is_named_by_preset_model_and_data(
    served: Served, quick_run: Run, flag: Path
) -> None:
    done = served.prefect("deployment", "run", "ssb/quickstart", "--watch", "--params", "-", stdin=served.parameters())
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = served.api("/flow_runs/filter")
    assert run["state"]["type"] == "COMPLETED" and run["name"] == "quickstart: nano on nano-train"
    assert served.tasks(run["id"]) == [(name, "Completed") for name in (*ALL, *EVALUATED)]
    (path,) = served.home.glob("runs/*/summary.json")
    assert json.loads(path.read_text())["benchmarks"] == quick_run.summary["benchmarks"]


def test_a_second_serve_local_beside_it_is_refused(served: Served) -> None:
    command = [*SSB, "serve-local", "--home", str(served.home), "--port", "1"]
    second = subprocess.run(command, env=served.env, capture_output=True, text=True, timeout=60)
    assert second.returncode == 2 and "error: another ssb serve-local is running" in second.stderr


def test_a_server_that_cannot_be_reached_is_one_clear_message(served: Served) -> None:
    env = served.env | {"PREFECT_API_URL": "http://127.0.0.1:1/api"}
    done = subprocess.run([*SSB, "deploy"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "error: the Prefect server at PREFECT_API_URL cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_parameters_are_refused_before_anything_is_scheduled(served: Served) -> None:
    before = served.api("/flow_runs/count")
    given = json.loads(served.parameters())
    given["config"]["rollouts"]["samples"] = "four"
    done = served.prefect("deployment", "run", "ssb/quickstart", "--params", "-", stdin=json.dumps(given))
    assert done.returncode == 1 and "'four' is not of type 'integer'" in " ".join(done.stdout.split())
    assert served.api("/flow_runs/count") == before


def test_what_only_we_can_check_fails_at_once_and_is_not_tried_again(served: Served) -> None:
    given = json.loads(served.parameters())
    given["config"]["distill"]["accumulation"] = 3  # of a batch of 4
    done = served.prefect("deployment", "run", "ssb/quickstart", "--params", "-", "--watch", stdin=json.dumps(given))
    assert done.returncode == 1
    (run,) = served.api("/flow_runs/filter", sort="START_TIME_DESC", limit=1)
    assert run["state"]["type"] == "FAILED" and "accumulation (3) must divide" in run["state"]["message"]
    assert run["run_count"] == 0 and served.tasks(run["id"]) == []


def test_a_retry_makes_the_failed_stage_again_and_takes_the_others_from_the_cache(served: Served, flag: Path) -> None:
    other = (*SMALL, "rollouts.seed=7", "target_traces=8", "execution.stage_timeout_hours={distill: 1}")
    flag.write_text("ValueError")
    id = served.schedule("ssb/quickstart", other, "--force", "rollouts", "--force", "teach")  # by the first try alone
    assert served.wait(id)["state"]["type"] == "FAILED"
    first = served.tasks(id)
    assert first == [*((name, "Completed") for name in ALL[:3]), ("distill", "Failed")]
    assert "stage distill failed: ValueError: injected into distill" in served.run(id)["state"]["message"]
    # the log of the stage's own process; logs are sent every few seconds
    until(lambda: "Traceback (most recent call last):" in served.logs(id), 30, lambda: served.told(id))
    assert "ssb-2-selection" in [a["key"] for a in served.api("/artifacts/filter", flow_runs={"id": {"any_": [id]}})]

    finished = committed(served.store)
    flag.unlink()
    # Until the worker has noticed that the process of the first try is gone, it takes the second for the one that died.
    until(lambda: "exited with status code: 1" in served.logs(id), 60, lambda: served.told(id))
    done = served.prefect("flow-run", "retry", id)
    assert done.returncode == 0, done.stdout
    until(lambda: served.run(id)["run_count"] == 2, 60, lambda: served.told(id))
    assert served.wait(id)["state"]["type"] == "COMPLETED"
    again = served.tasks(id)[len(first) :]
    cached = {*ALL[:3], EVALUATED[0]}  # the base was evaluated by an earlier run
    assert again == [(name, "Cached" if name in cached else "Completed") for name in (*ALL, *EVALUATED)]
    assert {p: t for p, t in committed(served.store).items() if p in finished} == finished


def test_what_may_pass_is_tried_again(served: Served, flag: Path) -> None:
    flag.write_text("once ConnectionError")
    id = served.schedule("ssb/distill", (*SMALL, "distill.seed=3"), "--to", "distill")
    assert served.wait(id)["state"]["type"] == "COMPLETED"
    until(lambda: "distill: try 2 of 4" in served.logs(id), 30, lambda: served.told(id))
    assert dict(served.tasks(id))["distill"] == "Completed"


def test_cancelling_ends_every_process_within_ten_seconds_and_keeps_what_is_finished(served: Served) -> None:
    slow = (*SLOW, "execution.isolate=always")
    id = served.schedule("ssb/quickstart", slow)
    store = served.store / "rollouts"
    before = committed(store)
    until(lambda: len(committed(store)) >= len(before) + 2, 120, lambda: served.told(id))
    processes = served.pids(id)
    assert len(processes) >= 2  # the flow's and its stage's
    done = served.prefect("flow-run", "cancel", id)
    assert done.returncode == 0, done.stdout
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert served.wait(id)["state"]["type"] == "CANCELLED"
    finished = committed(store)
    assert not list(served.store.rglob("*.tmp"))

    again = served.schedule("ssb/rollouts", slow, "--to", "rollouts")
    assert served.wait(again)["state"]["type"] == "COMPLETED"
    assert {p: t for p, t in committed(store).items() if p in finished} == finished
    shown = served.api("/artifacts/filter", artifacts={"key": {"any_": ["ssb-progress-rollouts"]}})
    assert any(re.search(r"of 3,\d+ samples, [\d.]+ samples/s, 0:\d\d:\d\d left", a["description"]) for a in shown)


def test_a_worker_without_a_home_refuses_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSB_HOME", raising=False)
    with pytest.raises(ValueError, match="SSB_HOME is not set on this worker\n  remedy: start it with SSB_HOME="):
        enter_home()
    monkeypatch.setenv("SSB_HOME", str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="is no folder on this worker"):
        enter_home()
