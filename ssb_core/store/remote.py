"""The store at a URL: a cache of it on this machine, and the code that keeps the two the same.

Stages work in the cache. A finished file is uploaded, shards before their sidecars and everything before the manifest
that lists it, so a request at the URL counts only once it is complete. Small files (sidecars, manifests) are kept the
same on both sides. Shards and adapters are downloaded when they are read, and checked.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatch
from functools import cache
from pathlib import Path

from ..errors import StoreError
from . import layout
from .backend import Backend
from .files import sha256_file
from .local import Local
from .manifest import ListedFile
from .remote_files import FileSystem
from .remote_lock import Leases

log = logging.getLogger(__name__)

CACHE = "SSB_CACHE"
"""The environment variable that names the folder of all caches; by default ~/.cache/ssb."""

FRESH = 5.0  # seconds for which a listing counts as current


class Remote(Backend):
    """The files at one URL, and this machine's cache of them."""

    def __init__(self, url: str, cache: Path) -> None:
        """The cache is in the folder `cache`. Nothing is read yet."""
        self.url, self.cache = url, cache
        self.local, self.files = Local(cache), FileSystem(url)
        self.leases = Leases(self.files)
        self.sizes: dict[str, int] = {}
        """Bytes of every file that was listed or uploaded, by its path below the URL."""
        self._fresh_until: dict[Path, float] = {}  # by recipe's folder, in monotonic seconds

    def name(self, path: Path) -> str:
        """The path below the URL of a file in the cache."""
        return path.relative_to(self.cache).as_posix()

    def check_writable(self) -> None:
        """As `FileSystem.check`."""
        self.files.check()

    @contextlib.contextmanager
    def lock(self, folder: Path, label: str, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Hold the lease of a recipe's folder within the block; as `Leases.acquire`."""
        with self.leases.acquire(self.name(folder), label, on_wait):
            self._fresh_until.pop(folder, None)  # the holder before may have written there
            yield

    @contextlib.contextmanager
    def try_lock(self, folder: Path) -> Iterator[bool]:
        """Try to get the lease of a recipe's folder without waiting. Yields True if we hold it."""
        with self.leases.try_acquire(self.name(folder)) as held:
            if held:
                self._fresh_until.pop(folder, None)
            yield held

    def confirm_lock(self, folder: Path) -> None:
        """As `Leases.confirm`."""
        self.leases.confirm(self.name(folder))

    def size(self, path: Path) -> int | None:
        """The size of a file at the URL in bytes, as it was last listed; None if it does not exist."""
        return self.sizes.get(self.name(path))

    def file_names(self, folder: Path) -> set[str]:
        """Names of the files directly in a folder, in the cache or at the URL as it was last listed."""
        prefix = f"{self.name(folder)}/"
        return self.local.file_names(folder) | {n.removeprefix(prefix) for n in self.sizes if n.startswith(prefix)}

    def list_files(self, folder: str = "") -> dict[str, ListedFile]:
        """List every file at the URL, or in one of its folders."""
        return self.files.list_files(folder)

    def sha256(self, path: Path) -> str:
        """The checksum of a file's bytes at the URL."""
        return self.files.sha256(self.name(path))

    def upload(self, paths: Sequence[Path]) -> None:
        """Upload finished files, in the given order.

        Raises:
            StoreError: the upload failed, or another process has taken over the lease.
        """
        for path in paths:
            name, size = self.name(path), path.stat().st_size
            self.leases.refuse_lost(_recipe_folder(name))
            self.files.upload(path, name)
            self.sizes[name] = size
            if _is_small(name):
                self._note_uploaded(name)

    def upload_missing(self, paths: Sequence[Path]) -> None:
        """Upload those files that were neither listed nor uploaded."""
        self.upload([p for p in paths if self.name(p) not in self.sizes])

    def drop_copies(self, paths: Sequence[Path]) -> None:
        """Delete files from the cache, and stop assuming that they are at the URL."""
        for path in paths:
            self.sizes.pop(self.name(path), None)
            path.unlink(missing_ok=True)

    def upload_part(self, part: Path) -> None:
        """Upload a finished part of unfinished work; parts beside it stay at the URL only while they are here."""
        with contextlib.suppress(FileNotFoundError):  # training has deleted it already, because there is a newer one
            self.upload(sorted((p for p in part.rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns))
        all_parts = self.files.list_files(self.name(part.parent))
        self._delete([name for name in all_parts if not (self.cache / name).exists()])

    def download(self, path: Path, sha256: str | None = None) -> None:
        """Download one file into the cache.

        Raises:
            FileNotFoundError: it is not at the URL.
            ValueError: its checksum differs from `sha256`.
        """
        with self._arriving(path) as temporary:
            self.files.download(self.name(path), temporary)
            if sha256 and sha256_file(temporary) != sha256:
                raise ValueError("its checksum differs")

    def download_folder(self, folder: Path) -> None:
        """Download everything in a folder, part by part; a part that is here in any state stays as it is."""
        name = self.name(folder)
        paths = [n.removeprefix(f"{name}/").split("/") for n in self.files.list_files(name)]
        for part in sorted({first for first, *_ in paths}):
            if (folder / part).exists():
                continue
            with self._arriving(folder / part) as temporary:
                for below in (rest for first, *rest in paths if first == part):
                    target = temporary.joinpath(*below)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self.files.download("/".join((name, part, *below)), target)

    @contextlib.contextmanager
    def _arriving(self, path: Path) -> Iterator[Path]:
        """Yield a temporary path that becomes `path` after the block.

        It is outside the recipe's folder, where the one writer would delete it as a leftover.
        """
        temporary = self.cache / ".arriving" / uuid.uuid4().hex
        temporary.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)  # does nothing to a file
            temporary.unlink(missing_ok=True)

    def refresh(self, paths: Sequence[Path]) -> None:
        """Make small files in the cache equal to those at the URL. A file that is not there stays as it is."""
        for name, content in self.files.read_all([self.name(p) for p in paths]).items():
            path = self.cache / name
            if not (path.is_file() and path.read_bytes() == content):
                with self._arriving(path) as temporary:
                    temporary.write_bytes(content)

    def refresh_matching(self, pattern: str) -> None:
        """Refresh the small files whose paths below the URL match a pattern."""
        self.refresh([self.cache / name for name in self.files.glob(pattern)])

    def refresh_recipe(self, folder: Path) -> None:
        """Refresh all small files of a recipe's folder, unless that was done just now.

        "Just now" is some seconds, or three times as long as it takes.
        """
        began = time.monotonic()
        if began < self._fresh_until.get(folder, -1.0):
            return
        name = self.name(folder)
        listed = self.files.list_files(name)
        for known in [n for n in self.sizes if n.startswith(f"{name}/")]:
            del self.sizes[known]
        self.sizes |= {n: file.bytes for n, file in listed.items()}
        versions = {n: file.version for n, file in listed.items() if _is_small(n)}
        before = self._versions_before(name)
        for gone in (before.keys() | self._uploaded(name)) - versions.keys():  # another process has deleted it there
            (self.cache / gone).unlink(missing_ok=True)
        changed = [n for n, v in versions.items() if before.get(n) != v or not (self.cache / n).exists()]
        self.refresh([self.cache / n for n in changed])
        for n in changed:  # the time of a manifest decides whether it is older than a run that is forced
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.cache / n, (listed[n].modified,) * 2)
        self._note(name).parent.mkdir(parents=True, exist_ok=True)
        self._note(name).write_text(json.dumps(versions))
        self._note(name, ".pushed").unlink(missing_ok=True)
        self._fresh_until[folder] = time.monotonic() + max(FRESH, 3 * (time.monotonic() - began))

    def _note(self, folder: str, suffix: str = ".json") -> Path:
        """This machine's note about the small files of a recipe's folder at the URL."""
        return self.cache / ".seen" / f"{folder.replace('/', '-')}{suffix}"

    def _note_uploaded(self, name: str) -> None:
        """Note that a small file was uploaded: if it is missing later, it was deleted there."""
        path = self._note(_recipe_folder(name), ".pushed")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as names:
            names.write(f"{name}\n")

    def _uploaded(self, folder: str) -> set[str]:
        """Small files that were uploaded since the recipe's folder was last listed."""
        with contextlib.suppress(FileNotFoundError):
            return set(self._note(folder, ".pushed").read_text().splitlines())
        return set()

    def _versions_before(self, folder: str) -> dict[str, str]:
        """Versions of the small files that were at the URL when the recipe's folder was last listed."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(self._note(folder).read_text()))
        return {}

    def set_aside(self, paths: Sequence[Path], reason: str) -> None:
        """Rename damaged files at the URL so that they are made again; if only the copies are damaged, drop those."""
        damaged = all(self._same(p) for p in paths if p.exists())
        consequence = (
            f"set aside at {self.url} and made again"
            if damaged
            else f"this copy is dropped, the one at {self.url} is used"
        )
        log.warning("%s: %s; %s", paths[0], reason, consequence)
        self.local.delete(paths)
        for name in map(self.name, paths) if damaged else ():
            self.sizes.pop(name, None)
            self.files.set_aside(name)

    def _same(self, path: Path) -> bool:
        """Whether a file at the URL equals the one in the cache; False if either does not exist."""
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes() == self.files.read(self.name(path))
        return False

    def delete(self, paths: Sequence[Path]) -> None:
        """Delete files in the cache, then at the URL, in the given order. Some may be gone already."""
        self.local.delete(paths)
        self._delete([self.name(p) for p in paths])

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            self.sizes.pop(name, None)
            self.files.delete(name)

    def delete_matching(self, folder: Path, pattern: str) -> None:
        """Delete everything at the URL in those subfolders of a recipe's folder whose names match a pattern."""
        below = self.files.list_files(self.name(folder))
        self._delete([name for name in below if fnmatch(name.split("/")[2], pattern)])


@cache
def remote_at(url: str) -> Remote:
    """The remote at `url`; a process has one for each URL.

    Raises:
        StoreError: no installed package knows the URL.
    """
    url = url.rstrip("/")
    if any(c in url for c in "*?[]"):
        raise StoreError(f"the store {url} cannot be opened: its name holds a wildcard character (one of * ? [ ])")
    folder = Path(os.environ.get(CACHE) or "~/.cache/ssb").expanduser()
    return Remote(url, folder / hashlib.sha256(url.encode()).hexdigest()[:16])


def _recipe_folder(name: str) -> str:
    """The folder of the recipe that a file belongs to."""
    return "/".join(name.split("/")[:2])


def _is_small(path: str) -> bool:
    """Whether a path below the URL is that of a recipe's small file."""
    return path.count("/") >= 2 and layout.is_small(path.split("/", 2)[2])
