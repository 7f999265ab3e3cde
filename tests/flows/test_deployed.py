"""Deployments on a real server with real workers: runs that are killed, refused, failed, retried and cancelled."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil
import pytest

from flows.server.home import enter_home
from flows.server.serve_local import SHORT_LIVED
from ssb_core.runs import Run
from ssb_core.training.checkpoints import SEAL
from tests.support.processes import FAULTY, SSB, quickstart
from tests.support.served import Served, parameters, serving, until
from tests.support.settings import SMALL
from tests.support.store_files import committed

pytestmark = pytest.mark.timeout(1200)
ALL = ["rollouts wave 1", "select wave 1", "teach wave 1", "distill"]
EVALUATED = ["evaluate base on nano-test", "evaluate ssb on nano-test"]


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that names the fault of each stage; see fault/sitecustomize.py."""
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, faults: Path) -> Iterator[Served]:
    inject = {"PYTHONPATH": FAULTY, "SSB_TEST_FAULTS": str(faults)}
    with serving(tmp_path_factory.mktemp("served"), **inject) as running:
        yield running


def parts(store: Path) -> dict[str, int]:
    """The modification time (ns) of every finished shard and of every checkpoint of a training, by path."""
    seals = store.glob(f"distill/*/*.work/checkpoint-*/{SEAL}")
    return committed(store) | {str(p): p.stat().st_mtime_ns for p in seals}


def kill_in(
    stage: str, deployment: str, settings: Sequence[str], served: Served, faults: Path, with_worker: bool
) -> str:
    """Kill a run of a deployment when a stage has finished a part, check that no part is lost, and return its id."""
    if with_worker:  # serve-local does not restart a worker that ends soon after its start
        until(lambda: all(time.time() - w.create_time() > SHORT_LIVED for w in served.workers()), 2 * SHORT_LIVED)
    (faults / stage).write_text("slow 4")
    before = parts(served.store)
    id = served.schedule(deployment, settings)

    def part_is_finished() -> bool:
        return any(f"/{stage}/" in path for path in parts(served.store).keys() - before.keys())

    until(part_is_finished, 200, lambda: served.describe(id))
    served.kill(id, with_worker)
    (faults / stage).unlink()
    assert before.items() <= parts(served.store).items(), "a finished part was made again"
    return id


@pytest.fixture(scope="module")
def killed(served: Served, faults: Path) -> tuple[str, str]:
    """The ids of a run killed in rollouts, and of one killed in distill together with its worker."""
    first = kill_in("rollouts", "ssb/quickstart", SMALL, served, faults, with_worker=False)
    return first, kill_in("distill", "ssb/evaluate", SMALL, served, faults, with_worker=True)


def test_after_two_kills_the_next_run_resumes_and_gives_the_same_results(
    served: Served, killed: tuple[str, str], quick_run: Run
) -> None:
    first, second = killed
    assert served.wait(first, {"CRASHED"})["state"]["type"] == "CRASHED"  # its worker has reported it
    finished = committed(served.store)

    command = [*SSB, *quickstart("parameters", SMALL)]
    json_parameters = subprocess.run(command, env=served.env, capture_output=True, text=True, check=True).stdout
    done = served.prefect("deployment", "run", "ssb/quickstart", "--watch", "--params", "-", stdin=json_parameters)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = served.api("/flow_runs/filter", flow_runs={"id": {"not_any_": [first, second]}})
    assert run["state"]["type"] == "COMPLETED"
    (folder,) = served.home.glob("runs/*")
    assert run["name"] == f"{folder.name}: nano on nano-train"
    assert sorted(run["tags"]) == ["cpu", "data:nano-train", "model:nano", "preset:quickstart", "ssb"]
    with urllib.request.urlopen(served.reports_of(run["id"])) as report:  # the link of the page
        assert report.status == 200 and b"<!doctype html>" in report.read()[:100].lower()
    names = zip((*ALL, *EVALUATED), ["Cached"] * 3 + ["Completed"] * 3, strict=True)
    served.expect_tasks(run["id"], [*names])
    (path,) = served.home.glob("runs/*/summary.json")
    summary = json.loads(path.read_text())
    assert summary["benchmarks"] == quick_run.load_summary()["benchmarks"]
    assert summary["stages"]["distill"]["status"] == "resumed"
    assert finished.items() <= committed(served.store).items()
    assert not list(served.store.rglob("*.tmp")) and not list(served.store.rglob("*.work"))


def test_a_second_serve_local_is_refused(served: Served) -> None:
    command = [*SSB, "serve-local", "--home", str(served.home), "--port", "1"]
    second = subprocess.run(command, env=served.env, capture_output=True, text=True, timeout=60)
    assert second.returncode == 2 and "error: another ssb serve-local is running" in second.stderr


def test_an_unreachable_server_is_one_clear_message(served: Served) -> None:
    env = served.env | {"PREFECT_API_URL": "http://127.0.0.1:1/api"}
    done = subprocess.run([*SSB, "deploy"], env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "error: the Prefect server at PREFECT_API_URL cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_bad_parameters_are_refused_before_a_run_is_scheduled(served: Served) -> None:
    before = served.api("/flow_runs/count")
    changed = parameters()
    changed["config"]["rollouts"]["samples"] = "four"
    with pytest.raises(urllib.error.HTTPError) as refused:
        served.schedule("ssb/quickstart", **changed)
    assert "'four' is not of type 'integer'" in refused.value.read().decode()
    assert served.api("/flow_runs/count") == before


def test_a_configuration_that_only_ssb_can_refuse_fails_without_a_retry(served: Served) -> None:
    changed = parameters()
    changed["config"]["distill"]["accumulation"] = 3  # of a batch of 4
    run = served.wait(served.schedule("ssb/quickstart", **changed))
    assert run["state"]["type"] == "FAILED" and "accumulation (3) must divide" in run["state"]["message"]
    assert run["run_count"] == 0 and served.tasks(run["id"]) == []


def test_a_retry_runs_the_failed_stage_and_takes_the_others_from_the_cache(served: Served, faults: Path) -> None:
    other = (*SMALL, "rollouts.seed=7", "target_traces=8", "execution.stage_timeout_hours={distill: 1}")
    (faults / "distill").write_text("ValueError")
    id = served.schedule("ssb/quickstart", other, force=["rollouts", "teach"])  # only in the first try
    assert served.wait(id)["state"]["type"] == "FAILED"
    first = [*((name, "Completed") for name in ALL[:3]), ("distill", "Failed")]
    served.expect_tasks(id, first)
    assert "stage distill failed: ValueError: injected into distill" in served.run(id)["state"]["message"]
    # The traceback is in the log of the stage's own process. Logs are sent every few seconds.
    until(lambda: "Traceback (most recent call last):" in served.logs(id), 120, lambda: served.describe(id))
    assert "ssb-2-selection" in [a["key"] for a in served.api("/artifacts/filter", flow_runs={"id": {"any_": [id]}})]

    finished = committed(served.store)
    (faults / "distill").unlink()
    # Before the worker notices the end of the first process, it would take the second one for it.
    until(lambda: "exited with status code: 1" in served.logs(id), 200, lambda: served.describe(id))
    done = served.prefect("flow-run", "retry", id)
    assert done.returncode == 0, done.stdout
    until(lambda: served.run(id)["run_count"] == 2, 200, lambda: served.describe(id))
    assert served.wait(id)["state"]["type"] == "COMPLETED"
    cached = {*ALL[:3], EVALUATED[0]}  # the base was evaluated by an earlier run
    again = [(name, "Cached" if name in cached else "Completed") for name in (*ALL, *EVALUATED)]
    served.expect_tasks(id, [*first, *again])
    assert finished.items() <= committed(served.store).items()


def test_cancelling_ends_all_processes_in_10_seconds_and_keeps_finished_shards(served: Served, faults: Path) -> None:
    other = (*SMALL, "rollouts.seed=11", "execution.isolate=always", "execution.shard_size=8")
    (faults / "rollouts").write_text("slow 6")
    before = committed(served.store)
    id = served.schedule("ssb/quickstart", other)
    progress = {"key": {"any_": ["ssb-progress-rollouts"]}, "flow_run_id": {"any_": [id]}}

    def has_rate() -> bool:
        texts = [a["description"] for a in served.api("/artifacts/filter", artifacts=progress)]
        return any(re.search(r"of 128 samples, [\d.]+ samples/s, 0:\d\d:\d\d left", text) for text in texts)

    until(lambda: has_rate() and len(committed(served.store)) > len(before), 200, lambda: served.describe(id))
    processes = served.pids(id)
    assert len(processes) >= 2  # the flow's and its stage's
    served.api(f"/flow_runs/{id}/set_state", state={"type": "CANCELLING"})  # as the UI does
    _, alive = psutil.wait_procs(processes, timeout=10)
    assert alive == []
    assert served.wait(id)["state"]["type"] == "CANCELLED"
    finished = committed(served.store)

    (faults / "rollouts").unlink()
    again = served.schedule("ssb/quickstart", other, to_stage="rollouts")
    assert served.wait(again)["state"]["type"] == "COMPLETED"
    assert finished.items() <= committed(served.store).items()
    assert not list(served.store.rglob("*.tmp"))


def test_a_failure_that_may_pass_is_tried_again(served: Served, faults: Path) -> None:
    (faults / "select").write_text("once ConnectionError")
    id = served.schedule("ssb/select", from_stage="select", to_stage="select", force=["select"])
    assert served.wait(id)["state"]["type"] == "COMPLETED"
    until(lambda: "select wave 1: try 2 of 4" in served.logs(id), 120, lambda: served.describe(id))
    until(lambda: served.tasks(id)[-1:] == [("select wave 1", "Completed")], 60, lambda: served.describe(id))


@pytest.mark.soak
def test_killed_the_other_way_round_the_next_run_resumes_and_completes(served: Served, faults: Path) -> None:
    other = (*SMALL, "rollouts.seed=5")
    first = kill_in("rollouts", "ssb/evaluate", other, served, faults, with_worker=True)
    kill_in("distill", "ssb/quickstart", other, served, faults, with_worker=False)
    finished = committed(served.store)
    assert served.wait(served.schedule("ssb/quickstart", other))["state"]["type"] == "COMPLETED"
    assert finished.items() <= committed(served.store).items()
    assert not list(served.store.rglob("*.tmp")) and not list(served.store.rglob("*.work"))
    assert "No heartbeat for 90 seconds" in crash(served, first)


def test_the_automation_marks_a_run_crashed_that_died_with_its_worker(served: Served, killed: tuple[str, str]) -> None:
    assert "No heartbeat for 90 seconds" in crash(served, killed[1])
    assert "is started again" in served.log.read_text()  # the worker


def crash(served: Served, id: str) -> str:
    """The message of a run's state as soon as it is Crashed."""
    return str(served.wait(id, {"CRASHED"}, 180)["state"]["message"])


def test_a_worker_without_a_home_refuses_with_the_remedy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SSB_HOME", raising=False)
    with pytest.raises(ValueError, match="SSB_HOME is not set on this worker\n  remedy: start it with SSB_HOME="):
        enter_home()
    monkeypatch.setenv("SSB_HOME", str(tmp_path / "gone"))
    with pytest.raises(ValueError, match="is not a folder on this worker"):
        enter_home()
