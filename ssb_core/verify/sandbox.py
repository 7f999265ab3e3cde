"""Compute closed forms in processes that can be killed.

A hostile expression can make a parser run for hours or fill the memory, and no timeout inside a process stops that
reliably. So each sandbox process is a fresh interpreter (never a fork of a process with threads) with a memory limit
and an empty environment. It receives closed forms over a socket, as lines of JSON.

A deadline counts CPU seconds of the sandbox process, so that no verdict depends on the load of the machine. The kernel
enforces it, even if the parent is gone. A process that does not get that much CPU time within `STALL_FACTOR` deadlines
by the clock is killed, and its work is tried once more. Nothing here uses signals of the calling process, so it works
from any thread, and a timeout of the caller (Prefect's tasks use SIGALRM) stays armed.
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

DEADLINE = 3.0  # CPU seconds for the closed forms of one answer
START_SECONDS = 120.0  # enough to start an interpreter with SymPy on a busy machine
STALL_FACTOR = 20  # deadlines by the clock after which a process stalls: more processes rarely share one core
MAX_FAILED_STARTS = 3  # after so many in a row, the expression is not the cause
RECYCLE_AFTER = 20_000  # answers per process; the caches of parser and SymPy grow slowly
QUEUE_PER_PROCESS = 16  # waiting answers per process that make another one worth its start (1-2 s)
MAX_MESSAGE_BYTES = 100_000  # fits the buffer of any socket, so that sending never blocks

ClosedForms = tuple[str, ...]
"""The closed forms of one answer."""


class Reply(NamedTuple):
    """The keys of the closed forms of one answer (None for a form without a value), or why there are none."""

    keys: tuple[str | None, ...] = ()
    status: Literal["timeout", "crashed", "rejected"] | None = None
    seconds: float = 0.0


class Sandbox:
    """A pool of up to `count` sandbox processes. They start when there is work for them.

    `deadline` is the CPU seconds that the closed forms of one answer may take.
    """

    def __init__(self, count: int | None = None, deadline: float = DEADLINE) -> None:
        self.count = count or min(_cores(), 8)
        self.deadline = deadline
        self.owner = os.getpid()
        self.failed_starts = 0
        self.idle: list[_Process] = []
        self.stop = weakref.finalize(self, _stop, self.idle, self.owner)  # in case nobody calls close()

    def close(self) -> None:
        """Kill the processes. More work starts new ones."""
        _stop(self.idle, self.owner)

    def compute(self, answers: Iterable[ClosedForms]) -> dict[ClosedForms, Reply]:
        """Compute the closed forms of each answer.

        A timeout is not tried again. An answer whose process dies is tried once more.

        Raises:
            RuntimeError: sandbox processes do not start.
        """
        if os.getpid() != self.owner:  # after a fork, the processes belong to the parent
            _stop(self.idle, self.owner)
            self.owner = os.getpid()
        queue = deque(dict.fromkeys(answers))
        replies: dict[ClosedForms, Reply] = {}
        busy: list[_Process] = []
        crashed: set[ClosedForms] = set()
        try:
            while queue or busy:
                self._assign(queue, busy)
                for process in self._finished(busy):
                    reply = process.outcome()
                    if process.ready and (reply.status != "crashed" or process.closed_forms in crashed):
                        replies[process.closed_forms] = reply
                    else:
                        queue.appendleft(process.closed_forms)
                        crashed |= {process.closed_forms} if process.ready else set()
                    self._release(process, reply)
        finally:
            _stop(busy, self.owner)  # a process is still busy only after an exception
        return replies

    def _assign(self, queue: deque[ClosedForms], busy: list[_Process]) -> None:
        """Give queued answers to idle processes, and start more processes if the queue is long."""
        while queue and len(busy) < self.count:
            if not self.idle and busy and len(queue) < QUEUE_PER_PROCESS * len(busy):
                return
            process = self.idle.pop() if self.idle else _Process.start()
            busy.append(process)
            process.send(queue.popleft(), self.deadline)

    def _finished(self, busy: list[_Process]) -> list[_Process]:
        """Wait for the first process that replies, dies or stalls; remove all such processes from `busy`."""
        until = min(p.due for p in busy)
        readable = wait([p.socket for p in busy], max(0.0, until - time.monotonic()))
        for process in busy:
            if process.socket in readable:
                process.receive(self.deadline)
        finished = [p for p in busy if p.reply or time.monotonic() >= p.due]
        busy[:] = [p for p in busy if p not in finished]
        return finished

    def _release(self, process: _Process, reply: Reply) -> None:
        """Keep a sound process for more work, else kill it."""
        if process.ready and reply.status not in ("timeout", "crashed") and process.sent < RECYCLE_AFTER:
            self.idle.append(process)
        else:
            process.kill()
        self.failed_starts = 0 if process.ready else self.failed_starts + 1
        if self.failed_starts >= MAX_FAILED_STARTS:
            raise RuntimeError(f"the verifier's sandbox process does not start: {_diagnosis()}")


@dataclass(eq=False, slots=True)
class _Process:
    """One sandbox process. It sends one line when it is ready; work that is sent earlier waits in the socket."""

    process: subprocess.Popen[bytes]
    socket: socket.socket
    ready: bool = False
    sent: int = 0
    closed_forms: ClosedForms = ()
    reply: Reply | None = None
    since: float = 0.0
    due: float = 0.0
    received: bytearray = field(default_factory=bytearray)

    @classmethod
    def start(cls) -> _Process:
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
                start_new_session=True,  # Ctrl-C goes to the parent only, which stops its processes itself
            )
        return cls(process, ours)

    def send(self, closed_forms: ClosedForms, deadline: float) -> None:
        """Send the closed forms of one answer, with their deadline in CPU seconds."""
        self.sent += 1
        self.closed_forms, self.reply = closed_forms, None
        self._restart_clock(STALL_FACTOR * deadline if self.ready else START_SECONDS)
        work = {"number": self.sent, "closed_forms": closed_forms, "deadline": deadline}
        message = json.dumps(work).encode() + b"\n"
        if len(message) > MAX_MESSAGE_BYTES:
            self.reply = Reply(status="rejected")
            self.due = self.since
            return
        with contextlib.suppress(OSError):  # a dead process is noticed because its reply is missing
            self.socket.sendall(message)

    def receive(self, deadline: float) -> None:
        """Read what has arrived. A whole line is a reply; the first line of a process means that it is ready."""
        try:
            arrived = self.socket.recv(2**16)
        except BlockingIOError:
            return
        except OSError:
            arrived = b""
        self.received += arrived
        if not arrived or len(self.received) > MAX_MESSAGE_BYTES:
            self.reply = Reply(status=self._cause_of_death(), seconds=self._elapsed)
        while b"\n" in self.received and not self.reply:  # both lines may have arrived together
            line, _, self.received = self.received.partition(b"\n")
            if self.ready:
                self.reply = self._parse(bytes(line))
            else:
                self.ready = True
                self._restart_clock(STALL_FACTOR * deadline)

    def outcome(self) -> Reply:
        """The reply, or ``crashed`` if the process stalled."""
        return self.reply or Reply(status="crashed", seconds=self._elapsed)

    def _parse(self, line: bytes) -> Reply:
        """The reply in a line. A process that sends anything else counts as crashed."""
        try:
            message: dict[str, Any] = json.loads(line)
            keys, status = tuple(message["keys"]), message["status"]
            valid = message["number"] == self.sent and all(isinstance(k, str | None) for k in keys)
            if valid and status is None and len(keys) == len(self.closed_forms):
                return Reply(keys, None, self._elapsed)
            if valid and status in ("crashed", "rejected"):
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
        """Whether the process died of its deadline or of anything else."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)  # its socket closes a moment before the process ends, longer on a busy machine
        return "timeout" if self.process.returncode == -signal.SIGPROF else "crashed"

    def kill(self) -> None:
        self.socket.close()
        self.process.kill()
        self.process.wait()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _stop(processes: list[_Process], owner: int) -> None:
    """Kill all `processes`. In a fork of the `owner`, only close their sockets."""
    while processes:
        process = processes.pop()
        if os.getpid() == owner:
            process.kill()
        else:
            process.socket.close()


def _environment() -> dict[str, str]:
    """The variables that an interpreter needs to find our packages, and none of the caller's secrets."""
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
    """The error output of an interpreter that starts as a sandbox process does."""
    command = [sys.executable, "-P", "-c", f"import {__package__}.closed_form"]
    try:
        trial = subprocess.run(command, env=_environment(), cwd="/", capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    return trial.stderr.strip()[-500:] or f"it was killed or takes longer than {START_SECONDS:.0f} s"
