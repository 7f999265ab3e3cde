"""A command in a terminal of its own: it is the foreground process group, and keys reach it as a user's do."""

from __future__ import annotations

import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest

CTRL_C = b"\x03"
MARK = "SSB_TEST_MARK"


class Ended(NamedTuple):
    """The exit code of a command, the seconds from the first signal to the end, and all that the terminal showed."""

    code: int
    seconds: float
    output: str


class Terminal:
    """A running command. Its descendants have `mark` in their environment."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], cwd: Path, mark: str) -> None:
        self.mark, self.shown, self.signalled = mark, b"", 0.0
        self.pid, self.screen = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.execvpe(command[0], command, {**env, "TERM": "xterm", "COLUMNS": "80", MARK: mark})

    @property
    def output(self) -> str:
        return self.shown.decode(errors="replace")

    def read(self, seconds: float) -> bool:
        """Read what is shown within some seconds. False if the command has closed the terminal."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if select.select([self.screen], [], [], left)[0]:
                try:
                    self.shown += os.read(self.screen, 2**16)
                except OSError:  # Linux says so in this way
                    return False
        return True

    def until_shown(self, text: str, seconds: float = 150) -> None:
        """Wait until the terminal shows a text."""
        deadline = time.monotonic() + seconds
        while text not in self.output:
            if not self.read(0.02) or time.monotonic() > deadline:
                pytest.fail(f"{text!r} was not shown: {self.output[-3000:]}")

    def until_handled(self, seconds: float = 20) -> None:
        """Wait until the command handles SIGHUP, which Python does not do by itself."""
        deadline = time.monotonic() + seconds
        while signal.SIGHUP not in caught(self.pid):
            assert self.read(0.005) and time.monotonic() < deadline, self.output

    def press(self, times: int = 1, pause: float = 0.2) -> None:
        """Press Ctrl-C, some times in a row."""
        self.signalled = time.monotonic()
        for _ in range(times):
            try:
                os.write(self.screen, CTRL_C)
            except OSError:  # the command has ended
                return
            self.read(pause)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the whole process group, as `timeout` does."""
        self.signalled = time.monotonic()
        os.killpg(self.pid, number)

    def close(self) -> None:
        """Close the window: the kernel sends SIGHUP to the process group."""
        self.signalled = time.monotonic()
        os.close(self.screen)
        self.screen = -1

    def end(self) -> Ended:
        """Wait until the command ends, and check that no process of it is left."""
        while self.screen >= 0 and self.read(1):
            pass
        _, status = os.waitpid(self.pid, 0)
        seconds = time.monotonic() - (self.signalled or time.monotonic())
        if self.screen >= 0:
            os.close(self.screen)
        left = [p.pid for p in descendants(self.mark)]
        _, left_over = psutil.wait_procs([psutil.Process(pid) for pid in left if psutil.pid_exists(pid)], timeout=10)
        assert not left_over, left_over
        return Ended(os.waitstatus_to_exitcode(status), seconds, self.output)


def descendants(mark: str, but: int = 0) -> list[psutil.Process]:
    """Living processes with this mark in their environment."""
    found = []
    for p in psutil.process_iter():
        try:
            if p.pid != but and p.environ().get(MARK) == mark and p.status() != psutil.STATUS_ZOMBIE:
                found.append(p)
        except psutil.Error:
            continue
    return found


def caught(pid: int, field: str = "SigCgt") -> set[int]:
    """The signals that a process handles, or those that it ignores (field ``SigIgn``)."""
    status = Path(f"/proc/{pid}/status").read_text()
    (mask,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith(f"{field}:"))
    return {number for number in range(1, 65) if mask >> (number - 1) & 1}
