"""Files behind one URL, on any file system that fsspec knows, such as S3. A file's name is its path below the URL."""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import StoreError, Unreachable
from .files import DAMAGED
from .manifest import ListedFile

S3 = {"config_kwargs": {"retries": {"max_attempts": 8, "mode": "standard"}, "connect_timeout": 10, "read_timeout": 60}}
"""Options of S3's client, unless fsspec's own configuration sets them (the variable FSSPEC_S3, or ~/.config/fsspec)."""


class FileSystem:
    """The file system behind one URL.

    Every failure is a StoreError, except that a missing file is a FileNotFoundError; a failure that another try may
    get past is an `Unreachable`.
    """

    def __init__(self, url: str) -> None:
        """Find the file system of a URL, without a request to it.

        Raises:
            StoreError: no installed package knows the URL.
        """
        self.url = url
        self.fs, self.root = _opened(url)

    def _ask(self, call: str, *arguments: Any, **options: Any) -> Any:
        with self._translated(call):
            return getattr(self.fs, call)(*arguments, **options)

    @contextlib.contextmanager
    def _translated(self, call: str) -> Iterator[None]:
        """Translate the file system's errors within the block.

        Raises:
            FileNotFoundError, FileExistsError: as the file system raises them.
            StoreError: any other failure.
        """
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as e:  # each file system has its own exceptions
            message = f"the store {self.url} cannot be used ({call}): {type(e).__name__}: {e}"
            if isinstance(e, PermissionError) or "Credentials" in type(e).__name__:
                raise StoreError(f"{message}\n  remedy: give this process the right to read and write there") from None
            raise Unreachable(f"{message}\n  finished shards are kept, the same command continues from there") from e

    def _path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _name(self, path: str) -> str:
        return str(PurePosixPath(path).relative_to(self.root))

    def check(self) -> None:
        """Write a small file in the way leases are written, and delete it.

        Raises:
            StoreError: that is not possible, or the file system creates a file that exists already.
        """
        name = f"probe-{uuid.uuid4().hex}"
        try:
            once, twice = (self.create(name, content) for content in (b"1", b"2"))
        except FileNotFoundError as e:
            raise StoreError(f"the store {self.url} cannot be written to: {e}\n  remedy: create its bucket") from None
        self.delete(name)
        if not once or twice:
            raise StoreError(
                f"the store {self.url} creates a file although it exists already, so two runs could write at once\n"
                "  remedy: use a file system that refuses to (S3: If-None-Match), or a directory"
            )

    def create(self, name: str, content: bytes) -> bool:
        """Create a file unless it exists. True if it was this call that created it."""
        try:
            self._ask("pipe_file", self._path(name), content, mode="create")
        except FileExistsError:
            return self.read(name) == content  # then an earlier try did create it, and its answer was lost
        return True

    def write(self, name: str, content: bytes) -> None:
        """Write a file, in place of one that exists."""
        self._ask("pipe_file", self._path(name), content)

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if it does not exist."""
        with contextlib.suppress(FileNotFoundError):
            return bytes(self._ask("cat_file", self._path(name)))
        return None

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those files that exist, by name."""
        answers = self._ask("cat", [self._path(n) for n in names], on_error="return") if names else {}
        contents = {name: answers.get(self._path(name), FileNotFoundError()) for name in names}
        for content in contents.values():
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise Unreachable(f"the store {self.url} cannot be read: {type(content).__name__}: {content}")
        return {name: content for name, content in contents.items() if not isinstance(content, Exception)}

    def sha256(self, name: str) -> str:
        """Checksum of a file's bytes; a FileNotFoundError if it does not exist."""
        with self._translated("open"), self.fs.open(self._path(name), "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    def upload(self, path: Path, name: str) -> None:
        """Copy the file at `path` on this machine to the URL."""
        self._ask("put_file", str(path), self._path(name))

    def download(self, name: str, path: Path) -> None:
        """Copy a file to `path` on this machine; a FileNotFoundError if it does not exist."""
        self._ask("get_file", self._path(name), str(path))

    def delete(self, name: str) -> None:
        """Delete a file, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._ask("rm_file", self._path(name))

    def set_aside(self, name: str) -> None:
        """Rename a file to ``*.damaged``, if it exists."""
        with contextlib.suppress(FileNotFoundError):
            self._ask("mv", self._path(name), self._path(name) + DAMAGED)

    def list_files(self, folder: str) -> dict[str, ListedFile]:
        """List every file below a folder, sorted by name."""
        with contextlib.suppress(FileNotFoundError):
            listing = self._ask("find", self._path(folder), detail=True)
            return {self._name(path): _listed(details) for path, details in sorted(listing.items())}
        return {}

    def glob(self, pattern: str) -> list[str]:
        """Names of the files that match a pattern."""
        return [self._name(path) for path in self._ask("glob", self._path(pattern))]


def _listed(details: dict[str, Any]) -> ListedFile:
    """A file from a file system's details; if these hold no time, it counts as written now."""
    keys = ("LastModified", "mtime", "created", "updated")
    when = next((details[k] for k in keys if details.get(k)), time.time())
    modified = float(when.timestamp() if isinstance(when, datetime) else when)
    version = f"{details['size']} {details.get('ETag') or details.get('etag') or modified}"
    return ListedFile(int(details["size"]), modified, version)


def _opened(url: str) -> tuple[Any, str]:
    """The file system behind a URL, and the URL's path in that file system."""
    import fsspec

    scheme = url.split("://", 1)[0]
    try:
        options: dict[str, Any] = {"use_listings_cache": False}
        if scheme == "s3" and "config_kwargs" not in fsspec.config.conf.get("s3", {}):
            options |= S3
        if scheme == "file":
            options |= {"auto_mkdir": True}
        return tuple(fsspec.core.url_to_fs(url, **options))  # type: ignore[return-value]
    except (ImportError, ValueError) as e:
        raise StoreError(
            f"the store {url} cannot be opened: {e}\n"
            "  remedy: pip install -c constraints.txt -e '.[s3]' for s3://, or fsspec's package for other URLs"
        ) from None
