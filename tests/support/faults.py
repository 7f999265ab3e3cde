"""Faults that strike a process right before it changes a file, and the journal of those changes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
FILLER = "filler"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault right before a process makes the change `at`, which is a line of the journal of an uninterrupted run.

    `do` is the name of a signal, ``later`` (SIGKILL after `amount` milliseconds), ``fill`` (fill the disk and leave
    `amount` bytes free) or ``clock`` (the clock goes back a day).
    """

    at: str
    do: str = "SIGKILL"
    amount: int = 0


class Journal:
    """An audit hook that notes every change of a file below `folder` before it is made, and lets a fault strike."""

    def __init__(self, folder: Path, descriptor: int, fault: Fault | None) -> None:
        self.folder = f"{folder}/"
        self.descriptor = descriptor
        self.fault = fault

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not (event == "open" or event in CHANGES) or not isinstance(arguments[0], (str, Path)):
            return
        if event in CHANGES and arguments[-1] != -1:
            return  # a name within an open folder, as shutil.rmtree uses it
        path = os.path.abspath(arguments[0])
        if not path.startswith(self.folder):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            if not path.endswith(".tmp"):
                return
            event = "sync"  # a temporary file is opened for reading only to fsync it
        if path.endswith(FILLER) or (event == "os.mkdir" and os.path.exists(path)):
            return
        line = f"{event} {re.sub(r'[.][0-9]+[.]tmp$', '.tmp', path.removeprefix(self.folder))}"
        os.write(self.descriptor, f"{line}\n".encode())
        if self.fault and self.fault.at == line:
            fault, self.fault = self.fault, None
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        match fault.do:
            case "fill":
                fill(Path(self.folder), fault.amount)
            case "later":
                # Not os.fork: in a forked child of a process with threads, another thread's lock may stay taken.
                wait = f"sleep {fault.amount / 1000}; kill -KILL {os.getpid()} 2> /dev/null"
                os.posix_spawn("/bin/sh", ["sh", "-c", wait], os.environ)
            case "clock":
                now = time.time
                time.time = lambda: now() - 86_400
            case _:
                os.kill(os.getpid(), signal.Signals[fault.do])


def fill(folder: Path, leave: int = 0) -> None:
    """Fill the disk of `folder` with a real file, except for `leave` bytes."""
    disk = os.statvfs(folder)
    size = disk.f_bavail * disk.f_frsize - leave
    with contextlib.suppress(OSError), (folder / FILLER).open("ab") as filler:
        os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, max(size, 0))
        if not leave:
            while True:  # the rest that the file system's own records left
                filler.write(bytes(4096))
                filler.flush()
