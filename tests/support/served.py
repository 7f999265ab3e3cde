"""``ssb serve-local`` as a user starts it, and what a test asks its server."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from ssb_core.config import presets
from tests.support.processes import SSB, api, free_port, gone
from tests.support.processes import environment as alone
from tests.support.settings import SMALL

TERMINAL = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@dataclass(frozen=True)
class Served:
    """A running ``ssb serve-local``: where its runs work, and the environment of somebody who uses it."""

    process: subprocess.Popen[str]
    home: Path
    env: dict[str, str]
    log: Path

    @property
    def store(self) -> Path:
        return self.home / "store"

    def api(self, path: str, **body: Any) -> Any:
        asks = body or path.endswith(("filter", "count"))
        return api(self.env, path, "POST" if asks else "GET", **body)

    def prefect(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """The command line of Prefect."""
        command = [sys.executable, "-m", "prefect", *arguments]
        return subprocess.run(command, env=self.env, input=stdin, capture_output=True, text=True, timeout=280)

    def schedule(self, deployment: str, settings: Sequence[str] = SMALL, **options: Any) -> str:
        """Schedule a run of a deployment with a changed quickstart, as the UI does; returns its id."""
        known = self.api(f"/deployments/name/{deployment}")["id"]
        return str(self.api(f"/deployments/{known}/create_flow_run", parameters=parameters(settings, **options))["id"])

    def run(self, id: str) -> dict[str, Any]:
        return dict(self.api(f"/flow_runs/{id}"))

    def wait(self, id: str, states: set[str] = TERMINAL, seconds: float = 200) -> dict[str, Any]:
        """The run, once it is in one of `states`."""
        until(lambda: self.run(id)["state"]["type"] in states, seconds, lambda: self.told(id))
        return self.run(id)

    def tasks(self, id: str) -> list[tuple[str, str]]:
        """Name and state of every task run that the server has heard of, in the order they were made."""
        return [(t["name"], t["state"]["name"]) for t in tasks(self.env, id)]

    def expect_tasks(self, id: str, expected: Sequence[tuple[str, str]]) -> None:
        """The task runs of a run that has ended; the server hears of them by another way than of the run itself."""
        until(lambda: self.tasks(id) == [*expected], 60, lambda: f"expected {expected}, found {self.tasks(id)}")

    def logs(self, id: str) -> str:
        found = self.api("/logs/filter", logs={"flow_run_id": {"any_": [id]}}, sort="TIMESTAMP_ASC")
        return "\n".join(line["message"] for line in found)

    def told(self, id: str) -> str:
        """Where a run stands, for the message of a failed test."""
        return f"{self.run(id)['state']}\n{self.logs(id)[-2000:]}\n{self.log.read_text()[-1000:]}"

    def pids(self, id: str) -> list[psutil.Process]:
        """The process of a flow run, and all that it started."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == id:
                    return [process, *process.children(recursive=True)]
        return []

    def workers(self) -> list[psutil.Process]:
        """Prefect's workers."""
        return [p for p in psutil.Process(self.process.pid).children() if "worker" in p.cmdline()]

    def kill(self, id: str, with_worker: bool) -> None:
        """SIGKILL to the process of a run, and before it to the worker that would have told of it."""
        flow, *below = self.pids(id)
        if with_worker:
            worker = flow.parent()
            assert worker and "worker" in worker.cmdline()
            worker.kill()
        flow.kill()
        until(lambda: all(map(gone, (flow, *below))), 120)


def tasks(env: dict[str, str], id: str) -> list[dict[str, Any]]:
    """The task runs of a flow run, in the order they were made."""
    return list(api(env, "/task_runs/filter", flow_runs={"id": {"any_": [id]}}, sort="EXPECTED_START_TIME_ASC"))


def parameters(settings: Sequence[str] = SMALL, **options: Any) -> dict[str, Any]:
    """What a run with a changed quickstart is given."""
    config = presets.load_config("quickstart", overrides=settings).model_dump(mode="json")
    return {"config": config, "preset": "quickstart", **options}


def until(reached: Callable[[], bool], seconds: float, told: Callable[[], str] = lambda: "") -> None:
    """Wait until `reached` holds, or fail."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {told()}")
        time.sleep(0.05)


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Served]:
    """A user's ``ssb serve-local`` in an empty PREFECT_HOME; ended by Ctrl-C, after which nothing of it may be left."""
    home, log, port = folder / "home", folder / "serve-local.log", free_port()
    env = alone(folder / "prefect") | {"OMP_NUM_THREADS": "1"} | environment
    with log.open("w") as out:
        command = [*SSB, "serve-local", "--home", str(home), "--port", str(port)]
        process = subprocess.Popen(command, env=env, stdout=out, stderr=out, text=True, start_new_session=True)
    served = Served(process, home, env | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}, log)
    try:
        until(lambda: "ready " in log.read_text() or process.poll() is not None, 300, log.read_text)
        assert process.poll() is None, log.read_text()
        yield served
    finally:
        below = []
        with suppress(psutil.NoSuchProcess):
            below = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        try:
            assert process.wait(120) == 130, log.read_text()
        finally:
            process.kill()
            _, left = psutil.wait_procs(below, timeout=5)  # those of the verifier, in sessions of their own, end last
            for p in left:
                p.kill()
    assert not left, left
