"""The store at a URL: this machine's cache of it, kept the same as what is there.

Work happens in the cache, a directory on this machine. A finished file is uploaded, shards before their sidecars and
everything before the manifest that names it, so what is at the URL counts only once it is all there. Small files
(sidecars, manifests) are kept the same on both sides; shards and adapters are fetched when they are wanted, and
checked.
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
from pathlib import Path, PurePosixPath

from ..errors import StoreError
from .files import sha256_file
from .local import Local
from .manifest import ListedFile
from .remote_files import FileSystem
from .remote_lock import Leases

log = logging.getLogger(__name__)

CACHE = "SSB_CACHE"
"""Environment variable that names the folder of all caches; by default ~/.cache/ssb."""

FRESH = 5.0  # seconds for which a listing is believed
NOTES = ((), ("shards",), ("manifests",), ("seconds",))  # folders of a recipe whose .json files are on both sides


class Remote:
    """What is at one URL, and this machine's cache of it."""

    def __init__(self, url: str, cache: Path) -> None:
        self.url, self.cache = url, cache
        self.local, self.files = Local(cache), FileSystem(url)
        self.leases = Leases(self.files)
        self.sizes: dict[str, int] = {}
        """Bytes of every file that was listed or uploaded, by its name below the URL."""
        self._pulled: dict[Path, float] = {}

    def name(self, path: Path) -> str:
        """A cached file's name below the URL."""
        return path.relative_to(self.cache).as_posix()

    @contextlib.contextmanager
    def lock(self, folder: Path, what: str, tell: Callable[[str], None]) -> Iterator[None]:
        """Hold the lease of a folder there within the block; as `Leases.acquire`."""
        with self.leases.acquire(self.name(folder), what, tell):
            self._pulled.pop(folder, None)  # the holder before may have written there
            yield

    @contextlib.contextmanager
    def try_lock(self, folder: Path) -> Iterator[bool]:
        """Hold the lease of a folder there within the block if nobody else does; whether that is so."""
        with self.leases.try_acquire(self.name(folder)) as free:
            if free:
                self._pulled.pop(folder, None)
            yield free

    def confirm_lock(self, folder: Path) -> None:
        """Ask whether the lease of a folder there is still this process's; a StoreError if not."""
        self.leases.confirm(self.name(folder))

    def size(self, path: Path) -> int | None:
        """Bytes of a file there, as it was last listed; None if it is not there."""
        return self.sizes.get(self.name(path))

    def file_names(self, folder: Path) -> set[str]:
        """Names of the files directly in a folder here and there, as it was last listed."""
        inside = f"{self.name(folder)}/"
        return self.local.file_names(folder) | {n.removeprefix(inside) for n in self.sizes if n.startswith(inside)}

    def list_files(self, folder: str = "") -> dict[str, ListedFile]:
        """Every file there, or in a folder there, by its name below the URL."""
        return self.files.list_files(folder)

    def sha256(self, path: Path) -> str:
        """Checksum of a file's bytes as they are there now."""
        return self.files.sha256(self.name(path))

    def upload(self, paths: Sequence[Path]) -> None:
        """Upload finished files, in order.

        Raises:
            StoreError: it did not work, or another process has taken the folder over.
        """
        for path in paths:
            name, size = self.name(path), path.stat().st_size
            self.leases.refuse_lost(_folder(name))
            self.files.upload(path, name)
            self.sizes[name] = size
            if _is_note(name):
                self._note_pushed(name)

    def upload_missing(self, paths: Sequence[Path]) -> None:
        """Upload those that are not there yet, for an earlier upload had failed."""
        self.upload([p for p in paths if self.name(p) not in self.sizes])

    def drop_copies(self, paths: Sequence[Path]) -> None:
        """Believe no longer that files are there, and drop what the cache has of them."""
        for path in paths:
            self.sizes.pop(self.name(path), None)
            path.unlink(missing_ok=True)

    def upload_part(self, part: Path) -> None:
        """Upload a finished part of unfinished work, such as a checkpoint, so that another machine can go on.

        Of those beside it, only what is still here stays there.
        """
        with contextlib.suppress(FileNotFoundError):  # training has deleted it meanwhile, for there is a newer one
            self.upload(sorted((p for p in part.rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns))
        beside = self.files.list_files(self.name(part.parent))
        self._delete([name for name in beside if not (self.cache / name).exists()])

    def download(self, path: Path, sha256: str | None = None) -> None:
        """Download a file into the cache.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it has another checksum.
        """
        with self._arriving(path) as temporary:
            self.files.download(self.name(path), temporary)
            if sha256 and sha256_file(temporary) != sha256:
                raise ValueError("its checksum is another")

    def download_folder(self, directory: Path) -> None:
        """Download what is below a folder, part by part; a part that is here in whatever state stays as it is."""
        folder = self.name(directory)
        names = [n.removeprefix(f"{folder}/").split("/") for n in self.files.list_files(folder)]
        for part in sorted({first for first, *_ in names}):
            if (directory / part).exists():
                continue
            with self._arriving(directory / part) as temporary:
                for below in (rest for first, *rest in names if first == part):
                    target = temporary.joinpath(*below)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self.files.download("/".join((folder, part, *below)), target)

    @contextlib.contextmanager
    def _arriving(self, path: Path) -> Iterator[Path]:
        """Where to put what becomes `path` when it is whole; out of the way of who sweeps the folder of a recipe."""
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
        """Make small files in the cache what they are at the URL; those that are not there stay as they are."""
        for name, content in self.files.read_all([self.name(p) for p in paths]).items():
            path = self.cache / name
            if not (path.is_file() and path.read_bytes() == content):
                with self._arriving(path) as temporary:
                    temporary.write_bytes(content)

    def refresh_matching(self, pattern: str) -> None:
        """The same for those whose names match a pattern."""
        self.refresh([self.cache / name for name in self.files.glob(pattern)])

    def refresh_recipe(self, directory: Path) -> None:
        """The same for all small files of a recipe's folder, unless that was done just now.

        "Just" is some seconds, or three times as long as it takes.
        """
        began = time.monotonic()
        if began < self._pulled.get(directory, -1.0):
            return
        folder = self.name(directory)
        listed = self.files.list_files(folder)
        for name in [n for n in self.sizes if n.startswith(f"{folder}/")]:
            del self.sizes[name]
        self.sizes |= {name: file.bytes for name, file in listed.items()}
        marks = {n: file.mark for n, file in listed.items() if _is_note(n)}
        seen = self._seen(folder)
        for gone in (seen.keys() | self._pushed(folder)) - marks.keys():  # it was there, so somebody has deleted it
            (self.cache / gone).unlink(missing_ok=True)
        changed = [n for n, mark in marks.items() if seen.get(n) != mark or not (self.cache / n).exists()]
        self.refresh([self.cache / n for n in changed])
        for name in changed:  # when a manifest was written, decides whether it is older than a run that is forced
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.cache / name, (listed[name].modified,) * 2)
        self._seen_path(folder).parent.mkdir(parents=True, exist_ok=True)
        self._seen_path(folder).write_text(json.dumps(marks))
        self._seen_path(folder, ".pushed").unlink(missing_ok=True)
        self._pulled[directory] = time.monotonic() + max(FRESH, 3 * (time.monotonic() - began))

    def _seen_path(self, folder: str, kind: str = ".json") -> Path:
        return self.cache / ".seen" / f"{folder.replace('/', '-')}{kind}"

    def _note_pushed(self, name: str) -> None:
        """Remember that a small file was put there, so that its absence later means that it was deleted there."""
        path = self._seen_path(_folder(name), ".pushed")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as names:
            names.write(f"{name}\n")

    def _pushed(self, folder: str) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return set(self._seen_path(folder, ".pushed").read_text().splitlines())
        return set()

    def _seen(self, folder: str) -> dict[str, str]:
        """Marks of the small files that were at the URL when it was last listed."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(self._seen_path(folder).read_text()))
        return {}

    def set_aside(self, paths: Sequence[Path], why: str) -> None:
        """Rename damaged files there, so that they are made again; where only the cache's are damaged, drop those."""
        damaged = all(self._same(p) for p in paths if p.exists())
        then = (
            f"set aside at {self.url} and made again"
            if damaged
            else f"this copy is dropped, that at {self.url} is used"
        )
        log.warning("%s: %s; %s", paths[0], why, then)
        self.local.delete(paths)
        for name in map(self.name, paths) if damaged else ():
            self.sizes.pop(name, None)
            self.files.set_aside(name)

    def _same(self, path: Path) -> bool:
        """Whether a file there is the one in the cache, byte for byte; False if either is not there."""
        with contextlib.suppress(FileNotFoundError):
            return path.read_bytes() == self.files.read(self.name(path))
        return False

    def delete(self, paths: Sequence[Path]) -> None:
        """Delete files here and there, in order; some may be gone."""
        self.local.delete(paths)
        self._delete([self.name(p) for p in paths])

    def _delete(self, names: Sequence[str]) -> None:
        for name in names:
            self.sizes.pop(name, None)
            self.files.delete(name)

    def delete_matching(self, directory: Path, pattern: str) -> None:
        """Delete whatever there is below the folders in `directory` whose names match a pattern."""
        below = self.files.list_files(self.name(directory))
        self._delete([name for name in below if fnmatch(name.split("/")[2], pattern)])


@cache
def remote_at(url: str) -> Remote:
    """The remote at `url`, one for each URL in a process.

    Raises:
        StoreError: nothing that is installed knows the URL.
    """
    url = url.rstrip("/")
    if any(c in url for c in "*?[]"):
        raise StoreError(f"the store {url} cannot be opened: its name holds a character that stands for others")
    folder = Path(os.environ.get(CACHE) or "~/.cache/ssb").expanduser()
    return Remote(url, folder / hashlib.sha256(url.encode()).hexdigest()[:16])


def _folder(name: str) -> str:
    """The folder of the recipe that a file is of."""
    return "/".join(name.split("/")[:2])


def _is_note(name: str) -> bool:
    below = PurePosixPath(*PurePosixPath(name).parts[2:])
    return below.suffix == ".json" and below.parts[:-1] in NOTES
