"""The store in a directory on this machine. There is no second place, so nothing has to be copied or locked there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from .backend import Backend
from .files import obstacle_to_writing, set_aside, sha256_file
from .manifest import ListedFile


@dataclass(frozen=True, slots=True)
class Local(Backend):
    """The directory at `root`."""

    root: Path
    sha256 = staticmethod(sha256_file)
    set_aside = staticmethod(set_aside)

    # The directory is where all machines find the files, so there is nothing to copy and nothing to confirm.
    def confirm_lock(self, folder: Path) -> None: ...
    def upload(self, paths: Sequence[Path]) -> None: ...
    def upload_missing(self, paths: Sequence[Path]) -> None: ...
    def upload_part(self, part: Path) -> None: ...
    def download(self, path: Path, sha256: str | None = None) -> None: ...
    def download_folder(self, folder: Path) -> None: ...
    def refresh(self, paths: Sequence[Path]) -> None: ...
    def refresh_matching(self, pattern: str) -> None: ...
    def refresh_recipe(self, folder: Path) -> None: ...
    def drop_copies(self, paths: Sequence[Path]) -> None: ...
    def delete_matching(self, folder: Path, pattern: str) -> None: ...

    def check_writable(self) -> None:
        """Try to create files where the store's files are, or will be.

        Raises:
            StoreError: that is not possible.
        """
        folders = [p for p in self.root.iterdir() if p.is_dir()] if self.root.is_dir() else []
        for folder in (self.root, *folders):  # another user may have made a part of the store
            if obstacle := obstacle_to_writing(folder):
                raise StoreError(f"{obstacle}\n  remedy: make it writable, or choose another place with --store")

    def lock(self, folder: Path, label: str, on_wait: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
        """Nothing more to hold: the kernel's lock, which `Store.exclusive` takes, is enough on one machine."""
        return contextlib.nullcontext()

    def try_lock(self, folder: Path) -> contextlib.AbstractContextManager[bool]:
        """Always True, as for `lock`."""
        return contextlib.nullcontext(True)

    def size(self, path: Path) -> int | None:
        """The size of a file in bytes; None if it does not exist."""
        with contextlib.suppress(OSError):
            return path.stat().st_size
        return None

    def file_names(self, folder: Path) -> set[str]:
        """Names in a folder; none if there is no such folder."""
        return set(os.listdir(folder)) if folder.is_dir() else set()

    def list_files(self, folder: str = "") -> dict[str, ListedFile]:
        """List every file below a folder."""
        return dict(sorted(_walk(str(self.root / folder), f"{folder}/" if folder else "")))

    def delete(self, paths: Sequence[Path]) -> None:
        """Delete files; some may be gone already."""
        for path in paths:
            path.unlink(missing_ok=True)


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, ListedFile]]:
    """Every file below a folder; names start with `prefix`."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as children:
        for child in children:
            if child.is_dir(follow_symlinks=False):
                yield from _walk(child.path, f"{prefix}{child.name}/")
            else:
                with contextlib.suppress(FileNotFoundError):  # its writer has renamed it in the meantime
                    stat = child.stat()
                    yield f"{prefix}{child.name}", ListedFile(stat.st_size, stat.st_mtime)
