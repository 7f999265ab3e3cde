"""Files that are there whole or not at all, and what becomes of those that are damaged."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ..errors import StoreError

log = logging.getLogger(__name__)

DAMAGED = ".damaged"
TEMPORARY = ".tmp"
UNREADABLE = (OSError, ValueError, KeyError, TypeError)
"""What reading a damaged file may raise; see `raise_system_error`."""


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """A temporary path to write; on success it is fsynced and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        yield temporary
        fsync(temporary)
        os.replace(temporary, path)
        fsync(path.parent)
    except OSError as e:
        e.filename = e.filename or str(path)  # what fails while it is written does not say where
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, content: Any) -> None:
    """Write `content` atomically and readable."""
    with atomic_write(path) as temporary, temporary.open("w") as file:
        json.dump(content, file, indent=1, allow_nan=False)  # piece by piece: a manifest may have 100,000 entries
        file.write("\n")


def read_json(path: Path) -> Any:
    """What a file holds as JSON; None if it is not there or damaged."""
    try:
        return json.loads(path.read_bytes())
    except UNREADABLE as e:
        raise_system_error(e)
        return None


def set_aside(paths: Sequence[Path], why: str) -> None:
    """Rename what cannot be trusted to ``*.damaged`` so that it is made again, and say so."""
    for path in paths:
        if path.exists():
            log.warning("%s: %s; set aside and made again", path, why)
            os.replace(path, path.with_name(path.name + DAMAGED))


def fsync(path: Path) -> None:
    """Wait until a file's bytes, or a directory's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def delete_temporary(directory: Path, alone: bool = False, below: bool = True) -> None:
    """Delete temporary files whose writers are dead; those of all others too, for who is `alone` to write there.

    Those in folders `below` are among them unless that is not asked for.
    """
    for folder, folders, names in os.walk(directory, onerror=_unless_gone):
        for name in (n for n in names if n.endswith(TEMPORARY)):
            writer = re.search(rf"\.(\d+){re.escape(TEMPORARY)}$", name)
            if alone or (writer and not _alive(int(writer[1]))):
                Path(folder, name).unlink(missing_ok=True)
        if not below:
            folders.clear()


def _unless_gone(error: OSError) -> None:
    """Raise why a folder cannot be listed, unless another process has deleted it meanwhile."""
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
    """Raise what the operating system says of itself (too many open files, no permission): no file is damaged by it."""
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
        raise error


@contextlib.contextmanager
def exclusive(directory: Path, what: str) -> Iterator[None]:
    """Hold `directory` for this process; the kernel lets go of it when the process dies, however it dies.

    Raises:
        StoreError: another process holds it.
    """
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another process is at work on this {what} ({directory}); wait for it") from None
        yield
    finally:
        os.close(descriptor)
