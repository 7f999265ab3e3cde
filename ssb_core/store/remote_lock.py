"""Locks at a URL: one writer at a time for each recipe, over all machines.

Such a lock, a *lease*, needs one thing of the file system: it can create a file only if the file does not exist. Each
writer creates the file with the next higher number, so if two want to take over, only one succeeds. A holder writes its
lease again every few seconds. A lease that has not changed for `PATIENCE`, by the clock of the process that waits, is
taken over. A holder that could not write its lease for nearly as long uploads nothing more.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

from ..errors import StoreError
from .layout import LOCK
from .lock import POLL, Owner, Wait, beating
from .remote_files import FileSystem

PATIENCE = 30.0  # seconds without a sign of life after which a writer counts as dead
MARGIN = 10.0  # seconds before that at which it stops uploading, because a request takes its time


class Leases:
    """The leases at one URL, and those that this process holds. A folder is ``<stage>/<recipe>``."""

    def __init__(self, files: FileSystem) -> None:
        """`files` are those behind the URL."""
        self.files = files
        self.lost: set[str] = set()
        """Folders whose lease another process has taken over."""
        self._numbers: dict[str, int] = {}  # of the leases that are held
        self._beats: dict[str, float] = {}  # when they were last written, in monotonic seconds

    @contextlib.contextmanager
    def acquire(self, folder: str, label: str, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Hold the lease of a folder within the block.

        While another process holds it, wait and pass `on_wait` a message that names `label`.
        """
        wait = Wait(f"{label} at {self.files.url}", on_wait)
        while (number := self._create_next(folder, wait)) is None:
            time.sleep(POLL)
        with self._holding(folder, number):
            yield

    @contextlib.contextmanager
    def try_acquire(self, folder: str) -> Iterator[bool]:
        """Try to get the lease of a folder without waiting. Yields True if we hold it."""
        number = self._create_next(folder, Wait("", lambda _: None))
        if number is None:
            yield False
            return
        with self._holding(folder, number):
            yield True

    def confirm(self, folder: str) -> None:
        """Make sure that this process still holds the lease of a folder.

        Raises:
            StoreError: another process has taken it over.
        """
        self._is_lost(folder)
        self.refuse_lost(folder)

    def refuse_lost(self, folder: str) -> None:
        """Refuse to upload to a folder that another process may have taken over because this one was silent.

        Raises:
            StoreError: that may have happened.
        """
        silent = time.monotonic() - self._beats.get(folder, time.monotonic()) > PATIENCE - MARGIN
        if silent or folder in self.lost:
            raise StoreError(
                f"{self.files.url}/{folder} was taken over by another process, because this one gave no sign of life\n"
                "  remedy: run the same command again; what the other process finishes is reused"
            )

    def _is_lost(self, folder: str) -> bool:
        """Look whether another process has taken over the lease that this one held."""
        held = self._numbers.get(folder)
        if held is not None and max(self._existing(folder), default=held) > held:
            self.lost.add(folder)
        return folder in self.lost

    @contextlib.contextmanager
    def _holding(self, folder: str, number: int) -> Iterator[None]:
        name = f"{folder}/{LOCK}.{number}"
        self.lost.discard(folder)
        self._numbers[folder], self._beats[folder] = number, time.monotonic()

        def beat(owner: Owner) -> None:
            began = time.monotonic()
            if not self._is_lost(folder):
                self.files.write(name, owner.dump())
                self._beats[folder] = began

        try:
            with beating(Owner.me(), beat):
                yield
        finally:
            del self._numbers[folder], self._beats[folder]
            if folder not in self.lost:
                with contextlib.suppress(StoreError):  # then another process takes it over after a while
                    self.files.write(name, b"")

    def _create_next(self, folder: str, wait: Wait) -> int | None:
        """Create the next lease and return its number; None if another process is alive, or was faster."""
        name, numbers = f"{folder}/{LOCK}", self._existing(folder)
        last = max(numbers, default=0)
        if last and (content := self.files.read(f"{name}.{last}")):
            wait.update(Owner.parse(content))
            if wait.silence <= PATIENCE:
                return None
        if not self.files.create(f"{name}.{last + 1}", Owner.me().dump()):
            wait.restart()
            return None
        for old in numbers:
            self.files.delete(f"{name}.{old}")
        return last + 1

    def _existing(self, folder: str) -> list[int]:
        """Numbers of the leases of a folder that exist."""
        names = self.files.glob(f"{folder}/{LOCK}.*")
        return sorted(int(n) for name in names if (n := PurePosixPath(name).suffix[1:]).isdigit())
