"""``ssb serve-local``: a Prefect server, its pools, automations and deployments, and a worker for each pool.

Everything is a process in a session of its own below this one, with a log file; Ctrl-C or SIGTERM ends them all,
workers first, so that what runs can still say how it ended. Started again, it goes on with the same database.
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

from ..cli.errors import Terminated
from . import deploy as deploying
from .home import HOME

START = 90  # seconds in which a server has to answer
SHORT_LIVED = 15  # seconds after which a worker that ends is started again
GRACE = 8  # seconds in which processes may end by themselves
TAIL = 1500  # characters of a dead process's log that are shown
SERVER = "server"
PREFECT = (sys.executable, "-m", "prefect")

SETTINGS = {
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
    "GOMP_SPINCOUNT": "1000",  # as the command line has it
    # Slots of concurrency limits that are kept in memory would be held for ever when the server dies.
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
    "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",  # seconds; the zombie automation counts on it
    "PREFECT_WORKER_QUERY_SECONDS": "3",
}


class Ended(RuntimeError):
    """A process that has to go on for as long as we do has ended."""


@dataclass
class Processes:
    """What was started, in order, and how."""

    logs: Path
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    starts: dict[str, tuple[float, list[str], Mapping[str, str]]] = field(default_factory=dict)

    def start(self, name: str, command: list[str], env: Mapping[str, str]) -> None:
        """Start a process; what it prints goes on at the end of its log."""
        self.starts[name] = time.monotonic(), command, env
        with (self.logs / f"{name}.log").open("a") as log:
            self.running[name] = subprocess.Popen(
                command, env=dict(env), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def check(self, tell: Callable[[str], None]) -> None:
        """Start workers that have ended again.

        Raises:
            Ended: the server has, or a worker that had only just been started.
        """
        for name, process in list(self.running.items()):
            if process.poll() is None:
                continue
            started, command, env = self.starts[name]
            ended = f"{name} ended with exit code {process.returncode}"
            if name == SERVER or time.monotonic() - started < SHORT_LIVED:
                log = self.logs / f"{name}.log"
                raise Ended(f"{ended}; the end of {log}:\n{log.read_text(errors='replace')[-TAIL:]}")
            _end_group(process)  # a run that it had started may live on, and hold its GPU
            tell(f"worker       {ended}: it is started again")
            self.start(name, command, env)

    def stop(self) -> None:
        """End all with what they started, the server last, by force if they do not go."""
        server = [p for name, p in self.running.items() if name == SERVER]
        for together in ([p for p in self.running.values() if p not in server], server):
            for process in together:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            deadline = time.monotonic() + GRACE
            for process in together:
                _wait_for_group(process, deadline)
                _end_group(process)


def _end_group(leader: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a process and of all that it started in its session."""
    with suppress(ProcessLookupError):
        os.killpg(leader.pid, signal.SIGKILL)
    leader.wait()


def serve(home: Path, host: str, port: int, tell: Callable[[str], None]) -> None:
    """Serve until interrupted.

    Raises:
        ConfigError: the port is taken by something else, or the server refuses what is deployed.
        Ended: the server or a worker ended by itself.
    """
    home.mkdir(parents=True, exist_ok=True)
    url = f"http://{host}:{port}"
    env = environment(home.resolve(), url)
    processes = Processes(_logs(env))
    with _alone(processes.logs), _stopping(processes):
        if _answers(url):
            tell(f"server       {url} answers already; it is used, and left running")
        else:
            _refuse_taken(host, port)
            tell("server       starting")
            command = [*PREFECT, "server", "start", "--host", host, "--port", str(port)]
            processes.start(SERVER, command, env)
            _wait_until_it_answers(url, processes, tell)
        devices = gpus()
        deploying.deploy("process", len(devices), env, tell)
        for name, command, visible in workers(devices):
            processes.start(name, command, env | visible)
        tell(f"workers      {', '.join(n for n in processes.running if n != SERVER)}; logs in {processes.logs}")
        tell(ready(url, home))
        while True:
            processes.check(tell)
            time.sleep(1)


def environment(home: Path, url: str) -> dict[str, str]:
    """What server and workers are started with; settings that the user has made stay."""
    from prefect.settings import get_current_settings

    own = {"PREFECT_HOME": str(get_current_settings().home), "PREFECT_API_URL": f"{url}/api", HOME: str(home)}
    return SETTINGS | {"PREFECT_SERVER_UI_API_URL": f"{url}/api"} | dict(os.environ) | own


def workers(devices: list[str]) -> Iterator[tuple[str, list[str], dict[str, str]]]:
    """Name, command and visible GPUs of every worker: one for each GPU, and one for each pool that needs none."""
    for pool in (p["name"] for p in deploying.pools()):
        seen: list[str | None] = [*devices] if pool == "gpu" and devices else [None]
        for device in seen:
            name = f"{pool}-{device}" if device else pool
            visible = {"CUDA_VISIBLE_DEVICES": device or ""} if devices else {}
            yield name, [*PREFECT, "worker", "start", "--pool", pool, "--name", name, "--limit", "1"], visible


def gpus() -> list[str]:
    """Which GPUs there are, as CUDA_VISIBLE_DEVICES names them."""
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return [d for d in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if d and d != "-1"]
    if not shutil.which("nvidia-smi"):
        return []
    found = subprocess.run(["nvidia-smi", "--list-gpus"], capture_output=True, text=True, timeout=60)
    return [str(i) for i, _ in enumerate(found.stdout.splitlines())] if found.returncode == 0 else []


def ready(url: str, home: Path) -> str:
    """What to do next."""
    return (
        f"home         {home}: store, runs and data files of every run\n\n"
        f"ready        {url}\n"
        f"  export PREFECT_API_URL={url}/api\n"
        "  prefect deployment run ssb/quickstart --watch\n"
        "Ctrl-C stops everything; what runs goes on from its last shard when it is started again."
    )


@contextmanager
def _alone(logs: Path) -> Iterator[None]:
    """Refuse a second one beside the first: two workers would share each GPU."""
    (logs / "lock").touch()
    with exclusive(logs / "lock") as held:
        if not held:
            raise ConfigError(
                f"another ssb serve-local is running ({logs})\n  remedy: use that one, or another PREFECT_HOME"
            )
        yield


@contextmanager
def _stopping(processes: Processes) -> Iterator[None]:
    """End the processes after the block, which SIGTERM and a closed terminal interrupt like Ctrl-C."""

    def interrupt(number: int, _: object) -> None:
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # which nohup asks for
        signal.signal(signal.SIGHUP, interrupt)
    # A shell's background would have it ignored, by what is started here too; but workers stop themselves by it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        for number in (
            signal.SIGTERM,
            signal.SIGINT,
            signal.SIGHUP,
        ):  # nothing may be left behind
            signal.signal(number, signal.SIG_IGN)
        processes.stop()
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _logs(env: Mapping[str, str]) -> Path:
    folder = Path(env["PREFECT_HOME"]) / "serve-local"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health", timeout=2).json() is True
    except (httpx.HTTPError, ValueError):
        return False


def _refuse_taken(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as e:
            raise ConfigError(f"--port {port}: cannot be served on {host} ({e.strerror})\n  remedy: --port N") from None


def _wait_until_it_answers(url: str, processes: Processes, tell: Callable[[str], None]) -> None:
    deadline = time.monotonic() + START
    while not _answers(url):
        processes.check(tell)
        if time.monotonic() > deadline:
            raise Ended(f"the server did not answer within {START} s; see {processes.logs / 'server.log'}")
        time.sleep(0.3)


def _wait_for_group(leader: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait until no process of a group is left, or the deadline, in monotonic seconds."""
    with suppress(ProcessLookupError):
        while time.monotonic() < deadline:
            leader.poll()  # once it has ended, it counts no more
            os.killpg(leader.pid, 0)
            time.sleep(0.1)
