"""Files behind one URL, by their names below it.

It may be of any file system that fsspec knows, such as S3 and what speaks like it.
"""

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
"""What S3's client is told, unless fsspec's own configuration does (the variable FSSPEC_S3, or ~/.config/fsspec)."""


class FileSystem:
    """The file system behind one URL.

    Whatever goes wrong there is a StoreError, but that a file is not there; and an `Unreachable` if it may go right the
    next time.
    """

    def __init__(self, url: str) -> None:
        """Find the file system out; nothing is asked of it.

        Raises:
            StoreError: nothing that is installed knows the URL.
        """
        self.url = url
        self.fs, self.root = _opened(url)

    def _ask(self, call: str, *arguments: Any, **options: Any) -> Any:
        with self._translated(call):
            return getattr(self.fs, call)(*arguments, **options)

    @contextlib.contextmanager
    def _translated(self, call: str) -> Iterator[None]:
        """Call the file system within the block.

        Raises:
            FileNotFoundError, FileExistsError: as it says.
            StoreError: whatever else goes wrong.
        """
        try:
            yield
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as e:  # every file system has exceptions of its own
            told = f"the store {self.url} cannot be used ({call}): {type(e).__name__}: {e}"
            if isinstance(e, PermissionError) or "Credentials" in type(e).__name__:
                raise StoreError(f"{told}\n  remedy: give this process the right to read and write there") from None
            raise Unreachable(f"{told}\n  finished shards are kept, the same command goes on from there") from e

    def _there(self, name: str) -> str:
        return f"{self.root}/{name}"

    def _name(self, path: str) -> str:
        return str(PurePosixPath(path).relative_to(self.root))

    def check(self) -> None:
        """Write a small file as leases are written, and delete it.

        Raises:
            StoreError: that cannot be done, or the file system creates a file that is there already.
        """
        name = f"probe-{uuid.uuid4().hex}"
        try:
            once, twice = (self.create(name, content) for content in (b"1", b"2"))
        except FileNotFoundError as e:
            raise StoreError(f"the store {self.url} cannot be written to: {e}\n  remedy: create its bucket") from None
        self.delete(name)
        if not once or twice:
            raise StoreError(
                f"the store {self.url} creates a file though it is there already, so two runs could write at once\n"
                "  remedy: use a file system that refuses that (S3: If-None-Match), or a directory"
            )

    def create(self, name: str, content: bytes) -> bool:
        """Create a file that is not there; whether it was us."""
        try:
            self._ask("pipe_file", self._there(name), content, mode="create")
        except FileExistsError:
            return self.read(name) == content  # it was, and the answer got lost
        return True

    def write(self, name: str, content: bytes) -> None:
        self._ask("pipe_file", self._there(name), content)

    def read(self, name: str) -> bytes | None:
        """A file's bytes; None if it is not there."""
        with contextlib.suppress(FileNotFoundError):
            return bytes(self._ask("cat_file", self._there(name)))
        return None

    def read_all(self, names: Sequence[str]) -> dict[str, bytes]:
        """The bytes of those files that are there."""
        found = self._ask("cat", [self._there(n) for n in names], on_error="return") if names else {}
        contents = {name: found.get(self._there(name), FileNotFoundError()) for name in names}
        for content in contents.values():
            if isinstance(content, Exception) and not isinstance(content, FileNotFoundError):
                raise Unreachable(f"the store {self.url} cannot be read: {type(content).__name__}: {content}")
        return {name: content for name, content in contents.items() if not isinstance(content, Exception)}

    def sha256(self, name: str) -> str:
        """Checksum of a file's bytes; a FileNotFoundError if it is not there."""
        with self._translated("open"), self.fs.open(self._there(name), "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    def upload(self, path: Path, name: str) -> None:
        self._ask("put_file", str(path), self._there(name))

    def download(self, name: str, path: Path) -> None:
        """Copy a file to `path` on this machine; a FileNotFoundError if it is not there."""
        self._ask("get_file", self._there(name), str(path))

    def delete(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._ask("rm_file", self._there(name))

    def set_aside(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._ask("mv", self._there(name), self._there(name) + DAMAGED)

    def list_files(self, folder: str) -> dict[str, ListedFile]:
        """Every file below a folder, by name and in that order."""
        with contextlib.suppress(FileNotFoundError):
            found = self._ask("find", self._there(folder), detail=True)
            return {self._name(path): _file(about) for path, about in sorted(found.items())}
        return {}

    def glob(self, pattern: str) -> list[str]:
        return [self._name(path) for path in self._ask("glob", self._there(pattern))]


def _file(about: dict[str, Any]) -> ListedFile:
    """A file by what a file system says of it; written now if that is not said."""
    when = next((about[k] for k in ("LastModified", "mtime", "created", "updated") if about.get(k)), time.time())
    written = float(when.timestamp() if isinstance(when, datetime) else when)
    mark = f"{about['size']} {about.get('ETag') or about.get('etag') or written}"
    return ListedFile(int(about["size"]), written, mark)


def _opened(url: str) -> tuple[Any, str]:
    """The file system behind a URL, and the URL's path in it."""
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
