"""Closed forms computed in processes that can be killed.

A hostile expression can make a parser run for hours or fill the memory, and no timeout inside a process stops that for
sure. So each worker is a fresh interpreter (never a fork of a process with threads) with limits on its memory and CPU
time and an empty environment; it is asked over a socket, answers in JSON, and is killed with SIGKILL when it misses its
deadline. Nothing here uses signals of the calling process, so it works from any thread, and a timeout of the caller's
own (Prefect's tasks use SIGALRM) stays armed.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Literal, NamedTuple

MEMORY_BYTES = 2**30
START_SECONDS = 120.0  # an interpreter with SymPy, on a busy machine
RECYCLE_AFTER = 20_000  # caches of parser and SymPy grow slowly
WORTH_ANOTHER = 16  # closed forms waiting for each worker that make starting one more (1-2 s) worth it


class Reply(NamedTuple):
    """What became of one closed form: its key (None: it has no value) and a status if it could not be computed."""

    key: str | None
    status: Literal["timeout", "crashed", "rejected"] | None = None
    seconds: float = 0.0


class Workers:
    """Up to `count` workers, started when there is work for them; `deadline` is in seconds for one closed form."""

    def __init__(self, count: int | None = None, deadline: float = 3.0) -> None:
        self.count = count or min(_cores(), 8)
        self.deadline = deadline
        self.idle: list[_Worker] = []
        self.stop = weakref.finalize(self, _stop, self.idle)  # also where nobody calls close()

    def close(self) -> None:
        """Kill the workers; more work starts new ones."""
        _stop(self.idle)

    def compute(self, closed_forms: Iterable[str]) -> dict[str, Reply]:
        """A reply for each closed form; what times out or crashes is not tried again."""
        queue = deque(dict.fromkeys(closed_forms))
        replies: dict[str, Reply] = {}
        busy: list[_Worker] = []
        try:
            while queue or busy:
                self._hand_out(queue, busy)
                self._collect(busy, replies)
        finally:
            _stop(busy)  # only after an exception is there anyone left
        return replies

    def _hand_out(self, queue: deque[str], busy: list[_Worker]) -> None:
        while queue and len(busy) < self.count:
            if not self.idle and busy and len(queue) < WORTH_ANOTHER * len(busy):
                return
            worker = self.idle.pop() if self.idle else _Worker.start(self.deadline)
            worker.ask(queue.popleft(), self.deadline)
            busy.append(worker)

    def _collect(self, busy: list[_Worker], replies: dict[str, Reply]) -> None:
        """Wait for the first reply or the first missed deadline."""
        until = min(w.due for w in busy)
        ready = wait([w.connection for w in busy], max(0.0, until - time.monotonic()))
        for worker in list(busy):
            answered = worker.connection in ready
            if not answered and time.monotonic() < worker.due:
                continue
            reply = worker.reply() if answered else Reply(None, "timeout", worker.elapsed)
            if reply is None:
                continue  # it has only just started
            replies[worker.closed_form] = reply
            busy.remove(worker)
            if reply.status in ("timeout", "crashed") or worker.asked >= RECYCLE_AFTER:
                worker.kill()
            else:
                self.idle.append(worker)


@dataclass(eq=False, slots=True)
class _Worker:
    """One process. It says it is ready once; what it is asked before that waits in the socket."""

    process: subprocess.Popen[bytes]
    connection: Connection
    deadline: float
    ready: bool = False
    asked: int = 0
    closed_form: str = ""
    since: float = field(default_factory=time.monotonic)
    due: float = 0.0

    @classmethod
    def start(cls, deadline: float) -> _Worker:
        ours, theirs = socket.socketpair()
        with ours, theirs:
            command = [sys.executable, "-P", "-m", f"{__package__}.workers", str(theirs.fileno()), str(deadline)]
            process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env=_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the parent, which tells its workers itself
            )
            return cls(process, Connection(ours.detach()), deadline)

    @property
    def elapsed(self) -> float:
        return time.monotonic() - self.since

    def ask(self, closed_form: str, deadline: float) -> None:
        self.closed_form, self.deadline = closed_form, deadline
        self.asked += 1
        self._restart_clock(deadline if self.ready else START_SECONDS)
        with contextlib.suppress(OSError):  # a dead worker is noticed when its reply is missing
            self.connection.send_bytes(closed_form.encode())

    def _restart_clock(self, allowed: float) -> None:
        self.since = time.monotonic()
        self.due = self.since + allowed

    def reply(self) -> Reply | None:
        """The reply that has arrived; None if it was only the word that the worker is ready."""
        try:
            message = json.loads(self.connection.recv_bytes(2**20))
        except (EOFError, OSError, ValueError):
            return Reply(None, self._cause_of_death(), self.elapsed)
        if not self.ready:
            self.ready = True
            self._restart_clock(self.deadline)
            return None
        return Reply(message["key"], message["status"], self.elapsed)

    def _cause_of_death(self) -> Literal["timeout", "crashed"]:
        """It died by itself: of its CPU limit, then it was as good as late, or of anything else."""
        if not self.ready:
            raise RuntimeError(
                "the verifier's worker process does not start; try: python -c 'import math_verify, sympy'"
            )
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(1)
        return "timeout" if self.process.returncode == -signal.SIGXCPU else "crashed"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.connection.close()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stop(workers: list[_Worker]) -> None:
    while workers:
        workers.pop().kill()


def _environment() -> dict[str, str]:
    """What the interpreter needs to find our packages, and nothing of the caller's."""
    paths = os.pathsep.join(os.path.abspath(p) for p in sys.path)
    return {"PYTHONPATH": paths, "PYTHONHASHSEED": "0", "LC_ALL": "C.UTF-8", "PATH": os.defpath}


# ---------------------------------------------------------------- inside the worker


def main() -> None:
    """Answer closed forms until the parent hangs up."""
    connection, deadline = Connection(int(sys.argv[1])), float(sys.argv[2])
    from . import closed_form  # SymPy and the parser

    _limit_memory_and_files()
    closed_form.warm_up()
    connection.send_bytes(b'"ready"')
    with contextlib.suppress(EOFError, OSError):
        while True:
            asked = connection.recv_bytes().decode()
            _limit_cpu(deadline)
            connection.send_bytes(json.dumps(_answer(closed_form.key, asked)).encode())


def _answer(key: Callable[[str], str | None], asked: str) -> dict[str, str | None]:
    from .latex import OutOfBoundsError

    try:
        return {"key": key(asked), "status": None}
    except OutOfBoundsError:
        return {"key": None, "status": "rejected"}
    except MemoryError:
        return {"key": None, "status": "crashed"}


def _limit_memory_and_files() -> None:
    for limit, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 16),
    ):
        hard = resource.getrlimit(limit)[1]
        with contextlib.suppress(ValueError, OSError):  # macOS knows no limit on address space
            resource.setrlimit(limit, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


def _limit_cpu(deadline: float) -> None:
    """Should the parent be gone, an endless computation ends by itself."""
    spent = time.process_time()
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(spent + 2 * deadline) + 2, hard))


if __name__ == "__main__":
    main()
