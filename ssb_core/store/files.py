"""Atomic writes, checksums, and the handling of damaged files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import logging
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

DAMAGED = ".damaged"
TEMPORARY = ".tmp"
UNREADABLE = (OSError, ValueError, KeyError, TypeError)
"""Exceptions that reading a damaged file may raise; see `raise_system_error`."""


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; if the block succeeds, the file is fsynced and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
    except OSError as e:
        e.filename = e.filename or str(path)  # errors of write() do not name the file
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write `content` atomically, as JSON that people can read."""
    with atomic_write(path) as temporary, temporary.open("w") as file:
        json.dump(content, file, indent=1, allow_nan=False)  # in pieces: a manifest may list 100,000 files
        file.write("\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; None if it does not exist or is damaged."""
    try:
        return json.loads(path.read_bytes())
    except UNREADABLE as e:
        raise_system_error(e)
        return None


def set_aside(paths: Sequence[Path], reason: str) -> None:
    """Rename damaged files to ``*.damaged`` so that they are made again, and log a warning with the `reason`."""
    for path in paths:
        if path.exists():
            log.warning("%s: %s; set aside and made again", path, reason)
            os.replace(path, path.with_name(path.name + DAMAGED))


def fsync(path: Path) -> None:
    """Wait until a file's bytes, or a directory's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def obstacle_to_writing(folder: Path) -> str | None:
    """Why no file can be created in a folder, which need not exist yet; None if one can. Nothing is left behind."""
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(p))
    if not existing.is_dir():
        return f"{existing} is a {'broken link' if existing.is_symlink() else 'file'}; results need a directory"
    try:
        tempfile.TemporaryFile(dir=existing).close()
    except OSError as e:
        return f"this user cannot write to {existing} ({e.strerror or e})"
    return None


def delete_temporary(folder: Path, only_writer: bool = False, subfolders: bool = True) -> None:
    """Delete temporary files in a folder whose writers are dead.

    With `only_writer`, no other process writes there, so every temporary file is deleted.
    """
    for parent, folders, names in os.walk(folder, onerror=_raise_unless_gone):
        for name in (n for n in names if n.endswith(TEMPORARY)):
            writer = re.search(rf"\.(\d+){re.escape(TEMPORARY)}$", name)
            if only_writer or (writer and not _alive(int(writer[1]))):
                Path(parent, name).unlink(missing_ok=True)
        if not subfolders:
            folders.clear()


def _raise_unless_gone(error: OSError) -> None:
    """Raise an error of listing a folder, unless another process has deleted the folder in the meantime."""
    if not isinstance(error, FileNotFoundError):
        raise error


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def raise_system_error(error: Exception) -> None:
    """Raise an error of the operating system, such as too many open files or no permission.

    Such an error does not mean that the file is damaged. A missing file is no such error.
    """
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
        raise error
