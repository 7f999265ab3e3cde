"""Run a Prefect server with pools, automations, deployments and workers, all on this machine.

The server and each worker are child processes, each with a session and a log file of its own; a thread of this process
serves the reports of the runs. Ctrl-C or SIGTERM ends them all, workers first, so that running flows can still report
their end. The next start uses the same database.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from ssb_core.errors import ConfigError
from ssb_core.store.lock import exclusive
from tasks.pages.report import RUNS_URL

from ..cli import interruption
from . import runs_server
from .deploy import deploy, pools
from .home import HOME, RUNS

START_TIMEOUT = 90  # seconds in which the server has to answer
SHORT_LIVED = 15  # seconds; a worker that ends sooner counts as broken, and is not started again
GRACE = 8  # seconds in which processes may end by themselves
LOG_TAIL = 1500  # characters of a dead process's log that the error shows
SERVER = "server"
PREFECT = (sys.executable, "-m", "prefect")

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    # Concurrency slots that are kept in memory would never be freed after the server dies.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; the automation for dead runs relies on it
    "PREFECT_WORKER_QUERY_SECONDS": "3",
}


class ProcessEnded(RuntimeError):
    """The server or a worker ended although it should run as long as this process."""


@dataclass
class Processes:
    """The child processes by name, in the order of their start, with the commands that start them again."""

    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    starts: dict[str, tuple[float, list[str], Mapping[str, str]]] = field(default_factory=dict)

    def start(self, name: str, command: list[str], env: Mapping[str, str]) -> None:
        """Start a process. Its output is appended to its log."""
        self.starts[name] = time.monotonic(), command, env
        with (self.logs / f"{name}.log").open("a") as log:
            self.running[name] = subprocess.Popen(
                command, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def restart_ended(self, report: Callable[[str], None]) -> None:
        """Start the workers again that have ended.

        Raises:
            ProcessEnded: the server ended, or a worker shortly after its start.
        """
        for name, process in list(self.running.items()):
            if process.poll() is None:
                continue
            started, command, env = self.starts[name]
            ended = f"{name} ended with exit code {process.returncode}"
            if name == SERVER or time.monotonic() - started < SHORT_LIVED:
                log = self.logs / f"{name}.log"
                raise ProcessEnded(f"{ended}; the end of {log}:\n{log.read_text(errors='replace')[-LOG_TAIL:]}")
            _kill_group(process)  # a run that it started may still be alive and use its GPU
            report(f"worker       {ended}: it is started again")
            self.start(name, command, env)

    def stop(self) -> None:
        """End all processes and their children, the server last. Those that do not end in time are killed."""
        server = [p for name, p in self.running.items() if name == SERVER]
        others = [p for p in self.running.values() if p not in server]
        for processes in (others, server):
            for process in processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + GRACE
            for process in processes:
                _wait_for_group(process, deadline)
                _kill_group(process)


def _kill_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill a process and every process of its session that is still alive."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def serve(home: Path, host: str, port: int, runs_port: int | None, report: Callable[[str], None]) -> None:
    """Serve until interrupted, with `home` as the working folder of all runs. `report` gets a line for each step.

    The reports of the runs are served at `runs_port`, by default the one after `port`.

    Raises:
        ConfigError: another program uses the port, or the server refuses a deployment.
        ProcessEnded: the server or a worker ended by itself.
    """
    home.mkdir(parents=True, exist_ok=True)
    url, runs_port = f"http://{host}:{port}", runs_port or port + 1
    env = environment(home.resolve(), url, f"http://{host}:{runs_port}")
    processes = Processes(_logs(env))
    with _lock(processes.logs), _serving_runs(env, host, runs_port), _stop_at_end(processes):
        if _answers(url):
            report(f"server       {url} answers already; it is used, and left running")
        else:
            _refuse_used_port(host, port, "--port")
            report("server       starting")
            command = [*PREFECT, "server", "start", "--host", host, "--port", str(port)]
            processes.start(SERVER, command, env)
            _wait_for_server(url, processes, report)
        devices = gpus()
        deploy("process", len(devices), env, report)
        for name, command, visible in workers(devices):
            processes.start(name, command, env | visible)
        report(f"workers      {', '.join(n for n in processes.running if n != SERVER)}; logs in {processes.logs}")
        report(f"reports      {env[RUNS_URL]}: the runs in {home / RUNS}, read-only")
        report(next_steps(url, home))
        while True:
            processes.restart_ended(report)
            time.sleep(1)


def environment(home: Path, url: str, runs_url: str) -> dict[str, str]:
    """The environment variables of server and workers. Those that the user has set are kept."""
    from prefect.settings import get_current_settings

    own = {"PREFECT_HOME": str(get_current_settings().home), "PREFECT_API_URL": f"{url}/api", HOME: str(home)}
    defaults = {"PREFECT_SERVER_UI_API_URL": f"{url}/api", RUNS_URL: runs_url}
    return SETTINGS | defaults | dict(os.environ) | own


def workers(devices: list[str]) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Name, command and visible GPUs of every worker: one for each GPU, and one for each other pool."""
    for pool in (p["name"] for p in pools()):
        devices_of_pool: list[str | None] = [*devices] if pool == "gpu" and devices else [None]
        for device in devices_of_pool:
            name = f"{pool}-{device}" if device else pool
            visible = {"CUDA_VISIBLE_DEVICES": device or ""} if devices else {}
            yield name, [*PREFECT, "worker", "start", "--pool", pool, "--name", name, "--limit", "1"], visible


def gpus() -> list[str]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [d for d in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if d and d != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    listing = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60)
    return [str(i) for i, _ in enumerate(listing.stdout.splitlines())] if listing.returncode == 0 else []


def next_steps(url: str, home: Path) -> str:
    """The last message before serving: paths, and the next steps."""
    return (
        f"home         {home}: store, runs and data files of every run\n\n"
        f"ready        {url}\n"
        f"  export PREFECT_API_URL={url}/api\n"
        "  prefect deployment run ssb/quickstart --watch\n"
        "Ctrl-C stops everything. A run continues from its last shard when it is started again."
    )


@contextmanager
def _lock(logs: Path) -> Iterator[None]:
    """Refuse a second one beside the first: two workers would share each GPU."""
    (logs / "lock").touch()
    with exclusive(logs / "lock") as held:
        if not held:
            raise ConfigError(
                f"another ssb serve-local is running ({logs})\n  remedy: use that one, or another PREFECT_HOME"
            )
        yield


@contextmanager
def _stop_at_end(processes: Processes) -> Iterator[None]:
    """End the processes after the block. No signal interrupts that."""
    # A background job of a shell ignores SIGINT, and so would its children; but workers stop runs with SIGINT.
    signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
    try:
        yield
    finally:
        interruption.ignore()
        processes.stop()


def _logs(env: Mapping[str, str]) -> Path:
    folder = Path(env["PREFECT_HOME"]) / "serve-local"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health", timeout=2).json() is True
    except (httpx.HTTPError, ValueError):
        return False


@contextmanager
def _serving_runs(env: Mapping[str, str], host: str, port: int) -> Iterator[None]:
    """Serve the reports of the runs within the block, with the password of the Prefect server."""
    _refuse_used_port(host, port, "--runs-port")
    with runs_server.serving(Path(env[HOME], RUNS), host, port, _server_password()):
        yield


def _server_password() -> str | None:
    """The password of the Prefect server, wherever Prefect reads it: environment, profile or prefect.toml."""
    from prefect.settings import get_current_settings

    password = get_current_settings().server.api.auth_string
    return password.get_secret_value() if password else None


def _refuse_used_port(host: str, port: int, option: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (OSError, OverflowError) as e:
            raise ConfigError(
                f"{option} {port} on {host} cannot be used ({getattr(e, 'strerror', None) or e})\n"
                f"  remedy: choose another with {option} N"
            ) from None


def _wait_for_server(url: str, processes: Processes, report: Callable[[str], None]) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while not _answers(url):
        processes.restart_ended(report)
        if time.monotonic() > deadline:
            raise ProcessEnded(
                f"the server did not answer within {START_TIMEOUT} s; see {processes.logs / 'server.log'}"
            )
        time.sleep(0.3)


def _wait_for_group(leader: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait until every process of a group has ended, at most until `deadline`, in monotonic seconds."""
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            leader.poll()  # reaps the leader: a zombie would count as a process of the group
            os.killpg(leader.pid, 0)
            time.sleep(0.1)
