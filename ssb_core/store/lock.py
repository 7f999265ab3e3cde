"""One writer at a time for each recipe: who it is, whether it lives, and how the next one waits.

The lock is the kernel's (``flock``): it ends with the process that holds it, however that ends, so nothing has to be
broken by force and no clock decides. What the file says, who holds it and since when, is for people; its holder writes
it anew every few seconds, so that one who waits can tell a slow writer from a stopped one.
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
"""Seconds between signs of life."""

POLL = 0.5  # seconds between tries of one who waits
SILENCE = 4 * BEAT  # seconds without a sign of life after which a writer may be stopped
SIZE = 512  # bytes of every lease that is held, so that writing it anew leaves no moment without one
REMIND = 60.0  # seconds between what one who waits says


@dataclass(frozen=True, slots=True)
class Owner:
    """Who writes; `name` is nobody else's. `since` and `beat` are Unix times in seconds, by the owner's clock."""

    host: str
    pid: int
    since: float
    beat: float
    name: str = ""

    @classmethod
    def me(cls) -> Owner:
        return cls(socket.gethostname(), os.getpid(), time.time(), time.time(), uuid.uuid4().hex)

    @classmethod
    def parse(cls, raw: bytes) -> Owner | None:
        """What a lease says, unless it is empty or just being written."""
        try:
            return cls(**json.loads(raw))
        except (ValueError, TypeError):
            return None

    def dump(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def alive(self) -> Owner:
        """The same with a sign of life now."""
        return replace(self, beat=time.time())

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        return f"process {self.pid}{where}, at work since {time.strftime('%H:%M:%S', time.localtime(self.since))}"


class Wait:
    """What one who waits for another writer says about it, and how often.

    Signs of life are counted by our own clock: a lease that has not changed for a while is silent, whatever time it is
    where it was written.
    """

    def __init__(self, what: str, tell: Callable[[str], None]) -> None:
        self.what = what
        self.tell = tell
        self.seen: Owner | None = None
        self.changed = time.monotonic()
        self.told = -REMIND

    @property
    def silence(self) -> float:
        """Seconds since the lease was seen to change."""
        return time.monotonic() - self.changed

    def restart(self) -> None:
        """Begin to count anew: somebody else was faster."""
        self.seen, self.changed = None, time.monotonic()

    def look(self, owner: Owner | None) -> None:
        if owner != self.seen:
            self.seen, self.changed = owner, time.monotonic()
        known = owner or self.silence > 2 * POLL  # who has only just begun has not said so yet
        if known and time.monotonic() - self.told >= REMIND:
            self.told = time.monotonic()
            who = str(owner) if owner else "another process"
            stopped = f"; no sign of life for {self.silence:.0f} s, it may be stopped" if self.silence > SILENCE else ""
            self.tell(f"{self.what}: waiting for {who}{stopped}")


@contextlib.contextmanager
def acquire(path: Path, what: str, tell: Callable[[str], None]) -> Iterator[None]:
    """Hold the lease at `path` within the block; while another process has it, wait and say so by `tell`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wait = Wait(what, tell)
    while True:
        with _opened(path, os.O_RDWR | os.O_CREAT) as descriptor:
            if not _locked(descriptor):
                wait.look(Owner.parse(os.pread(descriptor, 4096, 0)))
            elif _is_at(descriptor, path):
                with beating(Owner.me(), lambda owner: _write(descriptor, owner.dump().ljust(SIZE))):
                    yield
                _write(descriptor, b"")
                return
            else:  # it was deleted with the last of its recipe, and another may be there by now
                continue
        time.sleep(POLL)


@contextlib.contextmanager
def try_acquire(path: Path) -> Iterator[bool]:
    """Hold the lease at `path` within the block if nobody else does; whether that is so. None is made."""
    try:
        with _opened(path, os.O_RDWR) as descriptor:
            yield _locked(descriptor) and _is_at(descriptor, path)
    except FileNotFoundError:
        yield True


def clear(path: Path) -> None:
    """Forget what a killed holder left in the lease at `path`, unless somebody holds it."""
    with try_acquire(path) as alone:
        if alone and path.exists() and path.stat().st_size:
            os.truncate(path, 0)


def holder(path: Path) -> Owner | None:
    """Who holds the lease at `path` now, by what it says; None if nobody does. Changes nothing."""
    with contextlib.suppress(FileNotFoundError), _opened(path, os.O_RDONLY) as descriptor:
        if not _locked(descriptor, fcntl.LOCK_SH):
            return Owner.parse(os.pread(descriptor, 4096, 0)) or Owner("", 0, 0.0, 0.0)
    return None


@contextlib.contextmanager
def beating(owner: Owner, write: Callable[[Owner], None]) -> Iterator[None]:
    """Call `write` now and every `BEAT` seconds until the block ends. A later one may fail: the next comes soon."""
    write(owner)
    over = threading.Event()

    def beat() -> None:
        while not over.wait(BEAT):
            with contextlib.suppress(OSError, StoreError):  # a full disk or a lost connection is the work's to notice
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
    """A descriptor that no child keeps: a lock lasts for as long as any process has it open."""
    if not _watching.is_set():
        _watching.set()
        os.register_at_fork(after_in_child=_close_all)
    descriptor = os.open(path, flags, 0o666)
    _open.add(descriptor)
    try:
        yield descriptor
    finally:
        if descriptor in _open:  # else this is a forked child, which has closed it
            _open.discard(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)


def _close_all() -> None:
    for descriptor in _open:
        os.close(descriptor)
    _open.clear()


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _locked(descriptor: int, kind: int = fcntl.LOCK_EX) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write(descriptor: int, content: bytes) -> None:
    os.pwrite(descriptor, content, 0)
    os.ftruncate(descriptor, len(content))
