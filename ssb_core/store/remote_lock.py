"""Leases at a URL: one writer at a time for each recipe, over all machines.

They need one thing of the file system, to create a file only if it is not there: each writer creates the next higher
number, so of two that want to take over only one succeeds. A holder writes its lease anew every few seconds; one that
has not changed for `PATIENCE`, by the clock of who waits, is taken over. A holder that could not write for nearly as
long writes nothing more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from ..errors import StoreError
from .lock import POLL, Owner, Wait, beating
from .remote_files import FileSystem

PATIENCE = 30.0  # seconds without a sign of life after which a writer counts as dead
MARGIN = 10.0  # seconds before that in which it writes nothing any more, for a request takes its time
LEASE = "writer.lock"  # in a recipe's folder, with a number behind it


class Leases:
    """The leases at one URL, and which of them this process holds; a folder is ``<stage>/<recipe>``."""

    def __init__(self, files: FileSystem) -> None:
        self.files = files
        self.lost: set[str] = set()
        """Folders whose lease another process has taken over."""
        self._numbers: dict[str, int] = {}  # of the leases that are held
        self._beats: dict[str, float] = {}  # when they were last written

    @contextlib.contextmanager
    def acquire(self, folder: str, what: str, tell: Callable[[str], None]) -> Iterator[None]:
        """Hold the lease of a folder within the block; while another process has it, wait and say so by `tell`."""
        wait = Wait(f"{what} at {self.files.url}", tell)
        while (number := self._acquire(folder, wait)) is None:
            time.sleep(POLL)
        with self._holding(folder, number):
            yield

    @contextlib.contextmanager
    def try_acquire(self, folder: str) -> Iterator[bool]:
        """Hold the lease of a folder within the block if nobody else does; whether that is so."""
        number = self._acquire(folder, Wait("", lambda _: None))
        if number is None:
            yield False
            return
        with self._holding(folder, number):
            yield True

    def confirm(self, folder: str) -> None:
        """Ask whether the lease of a folder is still this process's.

        Raises:
            StoreError: it is not.
        """
        self._look_for_another(folder)
        self.refuse_lost(folder)

    def refuse_lost(self, folder: str) -> None:
        """Refuse to write to a folder that another process may have taken over for this one's silence.

        Raises:
            StoreError: it may.
        """
        silent = time.monotonic() - self._beats.get(folder, time.monotonic()) > PATIENCE - MARGIN
        if silent or folder in self.lost:
            raise StoreError(
                f"{self.files.url}/{folder} was taken over by another process, for this one gave no sign of life\n"
                "  remedy: run the same command again; what the other finishes is reused"
            )

    def _look_for_another(self, folder: str) -> bool:
        """Whether another process has taken over the lease that this one held."""
        held = self._numbers.get(folder)
        if held is not None and max(self._found(folder), default=held) > held:
            self.lost.add(folder)
        return folder in self.lost

    @contextlib.contextmanager
    def _holding(self, folder: str, number: int) -> Iterator[None]:
        name = f"{folder}/{LEASE}.{number}"
        self.lost.discard(folder)
        self._numbers[folder], self._beats[folder] = number, time.monotonic()

        def beat(owner: Owner) -> None:
            began = time.monotonic()
            if not self._look_for_another(folder):
                self.files.write(name, owner.dump())
                self._beats[folder] = began

        try:
            with beating(Owner.me(), beat):
                yield
        finally:
            del self._numbers[folder], self._beats[folder]
            if folder not in self.lost:
                with contextlib.suppress(StoreError):  # then it is taken over after a while
                    self.files.write(name, b"")

    def _acquire(self, folder: str, wait: Wait) -> int | None:
        """The number of the lease that this process now holds; None if another lives, or was faster."""
        name, numbers = f"{folder}/{LEASE}", self._found(folder)
        last = max(numbers, default=0)
        if last and (content := self.files.read(f"{name}.{last}")):
            wait.look(Owner.parse(content))
            if wait.silence <= PATIENCE:
                return None
        if not self.files.create(f"{name}.{last + 1}", Owner.me().dump()):
            wait.restart()
            return None
        for old in numbers:
            self.files.delete(f"{name}.{old}")
        return last + 1

    def _found(self, folder: str) -> list[int]:
        """Numbers of the leases of a folder that are there."""
        found = self.files.glob(f"{folder}/{LEASE}.*")
        return sorted(int(n) for name in found if (n := PurePosixPath(name).suffix[1:]).isdigit())
