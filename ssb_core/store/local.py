"""The store in a directory on this machine: what `remote` does for one at a URL, of which most is nothing here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import set_aside, sha256_file
from .manifest import ListedFile


@dataclass(frozen=True, slots=True)
class Local:
    """A directory; its methods are those of `Remote`, so that who writes and reads need not tell one from the other."""

    root: Path
    sha256 = staticmethod(sha256_file)
    set_aside = staticmethod(set_aside)

    def confirm_lock(self, folder: Path) -> None: ...
    def upload(self, paths: Sequence[Path]) -> None: ...
    def upload_missing(self, paths: Sequence[Path]) -> None: ...
    def refresh(self, paths: Sequence[Path]) -> None: ...
    def refresh_recipe(self, directory: Path) -> None: ...
    def refresh_matching(self, pattern: str) -> None: ...
    def download(self, path: Path, sha256: str | None = None) -> None: ...
    def download_folder(self, directory: Path) -> None: ...
    def drop_copies(self, paths: Sequence[Path]) -> None: ...
    def upload_part(self, part: Path) -> None: ...
    def delete_matching(self, directory: Path, pattern: str) -> None: ...

    def lock(self, folder: Path, what: str, tell: Callable[[str], None]) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def try_lock(self, folder: Path) -> contextlib.AbstractContextManager[bool]:
        return contextlib.nullcontext(True)

    def size(self, path: Path) -> int | None:
        with contextlib.suppress(OSError):
            return path.stat().st_size
        return None

    def file_names(self, folder: Path) -> set[str]:
        return set(os.listdir(folder)) if folder.is_dir() else set()

    def list_files(self, folder: str = "") -> dict[str, ListedFile]:
        return dict(sorted(_listed(str(self.root / folder), f"{folder}/" if folder else "")))

    def delete(self, paths: Sequence[Path]) -> None:
        for path in paths:
            path.unlink(missing_ok=True)


def _listed(folder: str, name: str) -> Iterator[tuple[str, ListedFile]]:
    """Every file below a folder, with `name` in front of its own."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _listed(entry.path, f"{name}{entry.name}/")
            else:
                with contextlib.suppress(FileNotFoundError):  # its writer has renamed it meanwhile
                    about = entry.stat()
                    yield f"{name}{entry.name}", ListedFile(about.st_size, about.st_mtime)
