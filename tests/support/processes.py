"""Real processes for tests: a Prefect server for the whole session, and the command line."""

from __future__ import annotations

import itertools
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
from filelock import FileLock

ROOT = Path(__file__).parents[2]
FAULTY = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "flows" / "fault")))
"""PYTHONPATH of processes in which faults are injected."""
EMPTY = "empty.db"  # a database with Prefect's tables and nothing in them
SSB = [sys.executable, "-m", "flows.cli"]


def environment(prefect_home: Path) -> dict[str, str]:
    """Our environment, without the developer's own settings for Prefect and ssb."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "SSB_"))}
    return kept | {"PREFECT_HOME": str(prefect_home), "PYTHONPATH": str(ROOT), "COLUMNS": "100"}


@pytest.fixture(scope="session")
def prefect_home(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A PREFECT_HOME with an empty database. Prefect needs seconds to create one, so all tests copy the first."""
    home, first, unfinished = tmp_path_factory.mktemp("prefect"), shared / "prefect", shared / "prefect.unfinished"
    with FileLock(f"{first}.lock"):
        if not first.exists():
            command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
            done = subprocess.run(command, env=environment(unfinished), capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
            unfinished.rename(first)
    for name in ("prefect.db", EMPTY):
        shutil.copy(first / "prefect.db", home / name)
    return home


@pytest.fixture(scope="session")
def alone(prefect_home: Path) -> dict[str, str]:
    """The environment of a user without a server of their own."""
    return environment(prefect_home)


@pytest.fixture(scope="session")
def served(alone: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a user with a running Prefect server."""
    with serving(alone, tmp_path_factory.mktemp("server"), "--no-ui") as env:
        yield env


@contextmanager
def serving(alone: dict[str, str], home: Path, *options: str) -> Iterator[dict[str, str]]:
    """Run a Prefect server for the block, and yield the environment of a user of it."""
    shutil.copy(Path(alone["PREFECT_HOME"], EMPTY), home / "prefect.db")
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    env = alone | {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_HOME": str(home)}
    # By default the UI would use port 4200, and Prefect would write its files into the installed package.
    own = {"PREFECT_UI_API_URL": url, "PREFECT_UI_STATIC_DIRECTORY": str(home / "ui")}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    log = (home / "server.log").open("w")
    server = subprocess.Popen([*command, *options], env=env | own, stdout=log, stderr=log, start_new_session=True)
    try:
        wait_until_healthy(server, url, Path(log.name))
        yield env | {"PREFECT_API_URL": url}
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_until_healthy(server: subprocess.Popen[bytes], url: str, log: Path, seconds: float = 120) -> None:
    """Wait until a server answers at ``/health``; otherwise fail with the end of its log."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and server.poll() is None:
        try:
            urllib.request.urlopen(f"{url}/health", timeout=2).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    pytest.fail(f"the server did not start:\n{log.read_text()[-2000:]}")


def quickstart(command: str, settings: Iterable[str] = (), *options: str) -> list[str]:
    """The arguments of a command of ``ssb`` for the quickstart with these settings changed."""
    return [command, "--preset", "quickstart", *(a for s in settings for a in ("--set", s)), *options]


def run_ssb(*arguments: str, env: dict[str, str], cwd: Path, timeout: float = 280) -> subprocess.CompletedProcess[str]:
    """Run the console script to its end."""
    return subprocess.run([*SSB, *arguments], env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout)


def cpu_of_children() -> float:
    """CPU time in seconds of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def free_port() -> int:
    """A free port from the range of this xdist worker, below the ports that the kernel assigns."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    while True:
        with socket.socket() as free, suppress(OSError):
            free.bind(("127.0.0.1", 20_000 + 1000 * worker + next(_ports) % 1000))
            return int(free.getsockname()[1])


_ports = itertools.count(os.getpid())


def gone(process: psutil.Process) -> bool:
    """Whether a process has ended. It counts as ended before its parent has reaped it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def api(env: dict[str, str], path: str, method: str = "POST", **body: Any) -> Any:
    """Send a request to the Prefect API of `env`, and return its answer."""
    content = json.dumps(body).encode() if method == "POST" else None
    request = urllib.request.Request(env["PREFECT_API_URL"] + path, content, {"Content-Type": "application/json"})
    for wait in (0.5, 1, 2, 4, None):  # seconds; Prefect's client also tries again when the database is busy
        try:
            with urllib.request.urlopen(request, timeout=30) as reply:
                return json.load(reply)
        except urllib.error.HTTPError as e:
            if e.code != 503 or wait is None:
                raise
            time.sleep(wait)
