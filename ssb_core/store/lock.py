"""Locks on this machine: one process at a time, which gets the lock when the process before ends.

A lock is the kernel's (``flock``). It ends with the process that holds it, however that process ends, so no lock has to
be broken by force and no clock decides. The lock file of a recipe also says which process holds it and since when, but
only for people. Its holder writes it again every few seconds, so that a process that waits can tell a slow writer from
a stopped one.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ..errors import StoreError

BEAT = 5.0
"""Seconds between a holder's signs of life."""

POLL = 0.5  # seconds between two tries to get a lock
SILENCE = 4 * BEAT  # seconds without a sign of life after which a holder may be stopped
SIZE = 512  # bytes of the file of a lock that is held: it is overwritten in place, so it is complete at every moment
REMIND = 60.0  # seconds between two messages of a process that waits


@dataclass(frozen=True, slots=True)
class Owner:
    """The process that holds a lock. `since` and `beat` are Unix times in seconds by its clock; `name` is unique."""

    host: str
    pid: int
    since: float
    beat: float
    name: str = ""

    @classmethod
    def me(cls) -> Owner:
        """This process, now."""
        return cls(socket.gethostname(), os.getpid(), time.time(), time.time(), uuid.uuid4().hex)

    @classmethod
    def parse(cls, raw: bytes) -> Owner | None:
        """Parse the content of a lock file; None if the file is empty or is being written."""
        try:
            return cls(**json.loads(raw))
        except (ValueError, TypeError):
            return None

    def dump(self) -> bytes:
        """The owner as it is written to the lock file."""
        return json.dumps(asdict(self)).encode()

    def alive(self) -> Owner:
        """The same owner with a sign of life now."""
        return replace(self, beat=time.time())

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where}, at work since {time.strftime('%H:%M:%S', time.localtime(self.since))}"


class Wait:
    """A wait for another writer: how long its lock file has not changed, and the messages about it.

    Silence is measured with this machine's clock. A lock file that has not changed for a while is silent, whatever the
    time is on the machine that wrote it.
    """

    def __init__(self, label: str, on_wait: Callable[[str], None]) -> None:
        """`label` names the recipe in the messages that `on_wait` gets."""
        self.label = label
        self.on_wait = on_wait
        self.owner: Owner | None = None
        self.changed_at = time.monotonic()
        self.reported_at = -REMIND

    @property
    def silence(self) -> float:
        """Seconds since the lock file was last seen to change."""
        return time.monotonic() - self.changed_at

    def restart(self) -> None:
        """Measure the silence from now on, because another process got the lock first."""
        self.owner, self.changed_at = None, time.monotonic()

    def update(self, owner: Owner | None) -> None:
        """Note the owner that the lock file names now, and report it if it is time to."""
        if owner != self.owner:
            self.owner, self.changed_at = owner, time.monotonic()
        known = owner or self.silence > 2 * POLL  # an owner that has just got the lock has not written its name yet
        if known and time.monotonic() - self.reported_at >= REMIND:
            self.reported_at = time.monotonic()
            writer = str(owner) if owner else "another process"
            stopped = f"; no sign of life for {self.silence:.0f} s, it may be stopped" if self.silence > SILENCE else ""
            self.on_wait(f"{self.label}: waiting for {writer}{stopped}")


@contextlib.contextmanager
def acquire(path: Path, label: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file at `path` within the block.

    While another process holds it, wait and pass `on_wait` a message that names `label`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    wait = Wait(label, on_wait)
    while True:
        with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
            if not _locked(descriptor):
                wait.update(Owner.parse(os.pread(descriptor, 4096, 0)))
            elif _is_at(descriptor, path):
                with beating(Owner.me(), lambda owner: _write(descriptor, owner.dump().ljust(SIZE))):
                    yield
                _write(descriptor, b"")
                return
            else:  # the file was deleted with its recipe, and there may be a new one by now
                continue
        time.sleep(POLL)


@contextlib.contextmanager
def try_acquire(path: Path) -> Iterator[bool]:
    """Try to lock the file at `path` without waiting. Yields True if we hold the lock, or if there is no such file."""
    with contextlib.ExitStack() as stack:
        try:
            descriptor = stack.enter_context(_opened(path, os.O_RDWR))
        except FileNotFoundError:
            yield True
        else:
            yield _locked(descriptor) and _is_at(descriptor, path)


@contextlib.contextmanager
def exclusive(path: Path, wait: bool = False) -> Iterator[bool]:
    """Lock a file or folder that is not a recipe's for the block. Yields True if we hold the lock.

    With `wait`, wait until we do. Nothing is written into the file.
    """
    with _opened(path, os.O_RDONLY) as descriptor:
        yield _locked(descriptor, fcntl.LOCK_EX, wait)


def clear_stale(path: Path) -> None:
    """Empty the lock file at `path` if a killed process left its name there."""
    with try_acquire(path) as held:
        if held and path.exists() and path.stat().st_size:
            os.truncate(path, 0)


def holder(path: Path) -> Owner | None:
    """The process that holds the lock file at `path` now, or None. Changes nothing."""
    with contextlib.suppress(FileNotFoundError), _opened(path, os.O_RDONLY) as descriptor:
        if not _locked(descriptor, fcntl.LOCK_SH):
            return Owner.parse(os.pread(descriptor, 4096, 0)) or Owner("", 0, 0.0, 0.0)
    return None


@contextlib.contextmanager
def beating(owner: Owner, write: Callable[[Owner], None]) -> Iterator[None]:
    """Call `write` now and every `BEAT` seconds until the block ends.

    Only the first call may fail the block; after a later one that fails, the next follows soon.
    """
    write(owner)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            with contextlib.suppress(OSError, StoreError):  # the work itself notices a full disk or a lost connection
                write(owner.alive())

    thread = threading.Thread(target=beat, name="lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


_open: set[int] = set()
_watching = threading.Event()


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    """A descriptor that forked children close at once, because a lock lasts as long as any process has it open."""
    if not _watching.is_set():
        _watching.set()
        os.register_at_fork(after_in_child=_close_all)
    descriptor = os.open(path, flags, 0o666)
    _open.add(descriptor)
    try:
        yield descriptor
    finally:
        if descriptor in _open:  # otherwise this is a forked child, which has closed it
            _open.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _close_all() -> None:
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the file at `path`."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _locked(descriptor: int, kind: int = fcntl.LOCK_EX, wait: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, kind if wait else kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, content: bytes) -> None:
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))
