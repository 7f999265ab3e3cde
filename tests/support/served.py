"""``ssb serve-local`` as a user starts it, and requests to its server."""

from __future__ import annotations

import re
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
    """A running ``ssb serve-local``: the working folder of its runs, and the environment of its user."""

    process: subprocess.Popen[str]
    home: Path
    env: dict[str, str]
    log: Path

    @property
    def store(self) -> Path:
        return self.home / "store"

    def api(self, path: str, **body: Any) -> Any:
        method = "POST" if body or path.endswith(("filter", "count")) else "GET"
        return api(self.env, path, method, **body)

    def prefect(self, *arguments: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run Prefect's command line."""
        command = [sys.executable, "-m", "prefect", *arguments]
        return subprocess.run(command, env=self.env, input=stdin, capture_output=True, text=True, timeout=280)

    def schedule(self, deployment: str, settings: Sequence[str] = SMALL, **options: Any) -> str:
        """Schedule a run of a deployment with a changed quickstart, as the UI does, and return its id."""
        deployment_id = self.api(f"/deployments/name/{deployment}")["id"]
        path = f"/deployments/{deployment_id}/create_flow_run"
        return str(self.api(path, parameters=parameters(settings, **options))["id"])

    def run(self, id: str) -> dict[str, Any]:
        return dict(self.api(f"/flow_runs/{id}"))

    def wait(self, id: str, states: set[str] = TERMINAL, seconds: float = 200) -> dict[str, Any]:
        """Wait until the run is in one of `states`, and return it."""
        until(lambda: self.run(id)["state"]["type"] in states, seconds, lambda: self.describe(id))
        return self.run(id)

    def tasks(self, id: str) -> list[tuple[str, str]]:
        """Name and state of every task run that the server knows, in the order of their creation."""
        return [(t["name"], t["state"]["name"]) for t in tasks(self.env, id)]

    def expect_tasks(self, id: str, expected: Sequence[tuple[str, str]]) -> None:
        """Wait for these task runs. The server may know of them later than of the end of their run."""
        until(lambda: self.tasks(id) == [*expected], 60, lambda: f"expected {expected}, got {self.tasks(id)}")

    def reports_of(self, id: str) -> str:
        """The address of a run's report that the page ssb-7-report links to."""
        chosen = {"key": {"any_": ["ssb-7-report"]}, "flow_run_id": {"any_": [id]}}
        (page,) = self.api("/artifacts/filter", artifacts=chosen)
        return re.findall(r"\[Open the report\]\((.*?)\)", page["data"])[0]

    def logs(self, id: str) -> str:
        lines = self.api("/logs/filter", logs={"flow_run_id": {"any_": [id]}}, sort="TIMESTAMP_ASC")
        return "\n".join(line["message"] for line in lines)

    def describe(self, id: str) -> str:
        """State and logs of a run, for the message of a failed test."""
        return f"{self.run(id)['state']}\n{self.logs(id)[-2000:]}\n{self.log.read_text()[-1000:]}"

    def pids(self, id: str) -> list[psutil.Process]:
        """The process of a flow run and all its descendants; the flow's own is the first."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if process.environ().get("PREFECT__FLOW_RUN_ID") == id:
                    return [process, *process.children(recursive=True)]
        return []

    def workers(self) -> list[psutil.Process]:
        """The processes of Prefect's workers."""
        return [p for p in psutil.Process(self.process.pid).children() if "worker" in p.cmdline()]

    def kill(self, id: str, with_worker: bool) -> None:
        """SIGKILL the process of a run, and before it, with `with_worker`, the worker that would report its end."""
        flow, *below = self.pids(id)
        if with_worker:
            worker = flow.parent()
            assert worker and "worker" in worker.cmdline()
            worker.kill()
        flow.kill()
        until(lambda: all(map(gone, (flow, *below))), 120)


def tasks(env: dict[str, str], id: str) -> list[dict[str, Any]]:
    """The task runs of a flow run, in the order of their creation."""
    return list(api(env, "/task_runs/filter", flow_runs={"id": {"any_": [id]}}, sort="EXPECTED_START_TIME_ASC"))


def parameters(settings: Sequence[str] = SMALL, **options: Any) -> dict[str, Any]:
    """The parameters of a run of a changed quickstart."""
    config = presets.load_config("quickstart", overrides=settings).model_dump(mode="json")
    return {"config": config, "preset": "quickstart", **options}


def until(reached: Callable[[], bool], seconds: float, describe: Callable[[], str] = lambda: "") -> None:
    """Wait until `reached` returns True; fail after `seconds` with the text of `describe`."""
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds} s: {describe()}")
        time.sleep(0.05)


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[Served]:
    """Run ``ssb serve-local`` in an empty PREFECT_HOME, end it by Ctrl-C, and check that no process is left."""
    home, log, port = folder / "home", folder / "serve-local.log", free_port()
    env = alone(folder / "prefect") | {"OMP_NUM_THREADS": "1"} | environment
    with log.open("w") as out:
        command = [*SSB, "serve-local", "--home", str(home), "--port", str(port), "--runs-port", str(free_port())]
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
            _, left = psutil.wait_procs(below, timeout=5)  # the verifier's processes have their own sessions
            for p in left:
                p.kill()
    assert not left, left
