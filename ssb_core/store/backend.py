"""The interface of the place where a store's files are: a directory (`local`), or a URL (`remote`)."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from .manifest import ListedFile


class Backend(Protocol):
    """The place where all machines find the files of a store.

    Paths are always those on this machine. For a directory, which is that place itself, the methods that copy files
    do nothing.
    """

    def check_writable(self) -> None:
        """Write a small file and delete it again.

        Raises:
            StoreError: that is not possible, or two processes could hold the same lock.
        """

    def lock(self, folder: Path, label: str, on_wait: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
        """Hold the lock of a recipe's folder within the block.

        While a process on another machine holds it, wait and pass `on_wait` a message that names `label`.
        """
        ...

    def try_lock(self, folder: Path) -> contextlib.AbstractContextManager[bool]:
        """Try to lock a recipe's folder without waiting. Yields True if we hold the lock."""
        ...

    def confirm_lock(self, folder: Path) -> None:
        """Make sure that this process still holds the lock of a recipe's folder.

        Raises:
            StoreError: another process has taken it over.
        """

    def size(self, path: Path) -> int | None:
        """The size of a file in bytes, as it was last listed; None if it does not exist."""
        ...

    def sha256(self, path: Path) -> str:
        """The checksum of a file's bytes as they are now.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...

    def file_names(self, folder: Path) -> set[str]:
        """Names of the files directly in a folder, as it was last listed."""
        ...

    def list_files(self, folder: str = "") -> dict[str, ListedFile]:
        """List every file below a folder, by its path below the store's root and in that order."""
        ...

    def upload(self, paths: Sequence[Path]) -> None:
        """Upload finished files, in the given order.

        Raises:
            StoreError: the upload failed, or another process has taken over the lock.
        """

    def upload_missing(self, paths: Sequence[Path]) -> None:
        """Upload those files that are not there yet because an earlier upload failed."""

    def upload_part(self, part: Path) -> None:
        """Upload a finished part of unfinished work, such as a checkpoint, so that another machine can go on from it.

        Other parts of the same work that are deleted on this machine are deleted there.
        """

    def download(self, path: Path, sha256: str | None = None) -> None:
        """Download one file.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: its checksum differs from `sha256`.
        """

    def download_folder(self, folder: Path) -> None:
        """Download everything in a folder that is not on this machine. What is here stays as it is."""

    def refresh(self, paths: Sequence[Path]) -> None:
        """Make small files on this machine equal to those there. A file that is not there stays as it is."""

    def refresh_matching(self, pattern: str) -> None:
        """Refresh the small files whose paths below the store's root match a pattern."""

    def refresh_recipe(self, folder: Path) -> None:
        """Refresh all small files of a recipe's folder, and delete those here that were deleted there."""

    def drop_copies(self, paths: Sequence[Path]) -> None:
        """Delete this machine's copies of files, and stop assuming that the files exist there."""

    def set_aside(self, paths: Sequence[Path], reason: str) -> None:
        """Rename damaged files to ``*.damaged`` and warn with the `reason`, so that they are made again."""
        ...

    def delete(self, paths: Sequence[Path]) -> None:
        """Delete files in the given order, here and there. Some may be gone already."""
        ...

    def delete_matching(self, folder: Path, pattern: str) -> None:
        """Delete everything in those subfolders of a recipe's folder whose names match a pattern."""
