"""Closed forms computed in processes that can be killed.

A hostile expression can make a parser run for hours or fill the memory, and no timeout inside a process stops that for
sure. So each worker is a fresh interpreter (never a fork of a process with threads) with a limit on its memory and an
empty environment; it is asked over a socket in lines of JSON. A deadline is in seconds of its CPU time, so that no
verdict depends on what else the machine does; the kernel ends it there, even if its parent is gone. A worker that does
not get that much time within `STARVED` deadlines is killed, and its answer tried once more. Nothing here uses signals
of the calling process, so it works from any thread, and a timeout of the caller's own (Prefect's tasks use SIGALRM)
stays armed.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import weakref
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, NamedTuple

START_SECONDS = 120.0  # an interpreter with SymPy, on a busy machine
STARVED = 20  # deadlines by the clock that a worker has: more processes than that share no core for long
STARTS = 3  # failed ones in a row after which it is not the expression's fault
RECYCLE_AFTER = 20_000  # caches of parser and SymPy grow slowly
WORTH_ANOTHER = 16  # requests waiting for each worker that make starting one more (1-2 s) worth it
LONGEST_MESSAGE = 100_000  # bytes; fits any socket's buffer, so that sending never waits

Request = tuple[str, ...]
"""The closed forms of one answer."""


class Reply(NamedTuple):
    """What became of a request: a key for each closed form (None: it has no value), or why there are none."""

    keys: tuple[str | None, ...] = ()
    status: Literal["timeout", "crashed", "rejected"] | None = None
    seconds: float = 0.0


class Workers:
    """Up to `count` workers, started when there is work for them; `deadline` is in CPU seconds for one request."""

    def __init__(self, count: int | None = None, deadline: float = 3.0) -> None:
        self.count = count or min(_cores(), 8)
        self.deadline = deadline
        self.owner = os.getpid()
        self.failed_starts = 0
        self.idle: list[_Worker] = []
        self.stop = weakref.finalize(self, _stop, self.idle, self.owner)  # also where nobody calls close()

    def close(self) -> None:
        """Kill the workers; more work starts new ones."""
        _stop(self.idle, self.owner)

    def compute(self, requests: Iterable[Request]) -> dict[Request, Reply]:
        """A reply for each request. What times out is not tried again, what loses its worker is tried once more.

        Raises:
            RuntimeError: workers do not start.
        """
        if os.getpid() != self.owner:  # a fork's copy: the workers are its parent's
            _stop(self.idle, self.owner)
            self.owner = os.getpid()
        queue = deque(dict.fromkeys(requests))
        replies: dict[Request, Reply] = {}
        busy: list[_Worker] = []
        crashed: set[Request] = set()
        try:
            while queue or busy:
                self._hand_out(queue, busy)
                for worker in self._finished(busy):
                    reply = worker.outcome()
                    if worker.ready and (reply.status != "crashed" or worker.request in crashed):
                        replies[worker.request] = reply
                    else:
                        queue.appendleft(worker.request)
                        crashed |= {worker.request} if worker.ready else set()
                    self._take_back(worker, reply)
        finally:
            _stop(busy, self.owner)  # only after an exception is there anyone left
        return replies

    def _hand_out(self, queue: deque[Request], busy: list[_Worker]) -> None:
        while queue and len(busy) < self.count:
            if not self.idle and busy and len(queue) < WORTH_ANOTHER * len(busy):
                return
            worker = self.idle.pop() if self.idle else _Worker.start()
            busy.append(worker)
            worker.ask(queue.popleft(), self.deadline)

    def _finished(self, busy: list[_Worker]) -> list[_Worker]:
        """Take out of `busy` whoever has replied, died or starved, after waiting for the first."""
        until = min(w.due for w in busy)
        ready = wait([w.socket for w in busy], max(0.0, until - time.monotonic()))
        for worker in busy:
            if worker.socket in ready:
                worker.receive(self.deadline)
        finished = [w for w in busy if w.reply or time.monotonic() >= w.due]
        busy[:] = [w for w in busy if w not in finished]
        return finished

    def _take_back(self, worker: _Worker, reply: Reply) -> None:
        if worker.ready and reply.status not in ("timeout", "crashed") and worker.asked < RECYCLE_AFTER:
            self.idle.append(worker)
        else:
            worker.kill()
        self.failed_starts = 0 if worker.ready else self.failed_starts + 1
        if self.failed_starts >= STARTS:
            raise RuntimeError(f"the verifier's worker process does not start: {_diagnosis()}")


@dataclass(eq=False, slots=True)
class _Worker:
    """One process. It says once that it is ready; what it is asked before that waits in the socket."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    ready: bool = False
    asked: int = 0
    request: Request = ()
    reply: Reply | None = None
    since: float = 0.0
    due: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(cls) -> _Worker:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__}.sandbox_main", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env=_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for the parent, which tells its workers itself
            )
        return cls(process, ours)

    def ask(self, request: Request, deadline: float) -> None:
        self.asked += 1
        self.request, self.reply = request, None
        self._restart_clock(STARVED * deadline if self.ready else START_SECONDS)
        message = json.dumps({"number": self.asked, "closed_forms": request, "deadline": deadline}).encode() + b"\n"
        if len(message) > LONGEST_MESSAGE:
            self.reply = Reply(status="rejected")
            self.due = self.since
            return
        with contextlib.suppress(OSError):  # a dead worker is noticed when its reply is missing
            self.socket.sendall(message)

    def receive(self, deadline: float) -> None:
        """Take in what has arrived; a whole line is a reply, or at first the word that the worker is ready."""
        try:
            arrived = self.socket.recv(2**16)
        except BlockingIOError:
            return
        except OSError:
            arrived = b""
        self.received += arrived
        if not arrived or len(self.received) > LONGEST_MESSAGE:
            self.reply = Reply(status=self._cause_of_death(), seconds=self._elapsed)
        while b"\n" in self.received and not self.reply:  # both may have arrived at once
            line, _, self.received = self.received.partition(b"\n")
            if self.ready:
                self.reply = self._understood(bytes(line))
            else:
                self.ready = True
                self._restart_clock(STARVED * deadline)

    def outcome(self) -> Reply:
        """The reply, or that it starved."""
        return self.reply or Reply(status="crashed", seconds=self._elapsed)

    def _understood(self, line: bytes) -> Reply:
        """A reply as it must look; a worker that says anything else is out of its mind, and crashed."""
        try:
            said: dict[str, Any] = json.loads(line)
            keys, status = tuple(said["keys"]), said["status"]
            sound = said["number"] == self.asked and all(isinstance(k, str | None) for k in keys)
            if sound and status is None and len(keys) == len(self.request):
                return Reply(keys, None, self._elapsed)
            if sound and status in ("crashed", "rejected"):
                return Reply((), status, self._elapsed)
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        return Reply(status="crashed", seconds=self._elapsed)

    def _restart_clock(self, allowed: float) -> None:
        self.since = time.monotonic()
        self.due = self.since + allowed

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self.since

    def _cause_of_death(self) -> Literal["timeout", "crashed"]:
        """It died by itself: of the deadline, or of anything else."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)  # its socket closes a moment before it is gone, and longer on a busy machine
        return "timeout" if self.process.returncode == -signal.SIGPROF else "crashed"

    def kill(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stop(workers: list[_Worker], owner: int) -> None:
    while workers:
        worker = workers.pop()
        if os.getpid() == owner:
            worker.kill()
        else:
            worker.socket.close()


def _environment() -> dict[str, str]:
    """What the interpreter needs to find our packages, and nothing of the caller's."""
    package = str(Path(__file__).resolve().parents[2])
    paths = [package, *(p for p in sys.path if isinstance(p, str) and os.path.isabs(p) and os.pathsep not in p)]
    kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "LC_ALL": "C.UTF-8",
        "PATH": os.defpath,
        **kept,
    }


def _diagnosis() -> str:
    """What an interpreter says that starts as a worker does."""
    command = [sys.executable, "-P", "-c", f"import {__package__}.closed_form"]
    try:
        tried = subprocess.run(command, env=_environment(), cwd="/", capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    return tried.stderr.strip()[-500:] or f"it was killed or is slower than {START_SECONDS:.0f} s"
