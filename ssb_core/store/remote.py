"""The store at a URL: any file system that fsspec knows, such as S3 and what speaks like it.

Work happens in a directory on this machine, the cache. A finished file is uploaded there, shards before their sidecars
and everything before the manifest that names it, so what is at the URL counts only once it is all there. Small files
(sidecars, manifests) are kept the same on both sides; shards and adapters are fetched when they are wanted, and
checked.

Writers take turns by leases that need one thing of the file system, to create a file only if it is not there: each
writer creates the next higher number, so of two that want to take over only one succeeds. A holder writes its lease
anew every few seconds; one that has not changed for `PATIENCE`, by the clock of who waits, is taken over. A holder
that could not write for nearly as long writes nothing more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatch
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from .files import DAMAGED, StoreError, sha256_file
from .lease import POLL, Owner, Wait, beating
from .manifest import File

CACHE = "SSB_CACHE"
"""Environment variable that names the folder of all caches; by default ~/.cache/ssb."""

PATIENCE = 30.0  # seconds without a sign of life after which a writer counts as dead
MARGIN = 10.0  # seconds before that in which it writes nothing any more, for a request takes its time
LEASE = "writer.lock"  # in a recipe's folder, with a number behind it
FRESH = 5.0  # seconds for which a listing is believed
NOTES = ((), ("shards",), ("manifests",), ("seconds",))  # folders of a recipe whose .json files are on both sides
S3 = {"config_kwargs": {"retries": {"max_attempts": 8, "mode": "standard"}, "connect_timeout": 10, "read_timeout": 60}}
"""What S3's client is told, unless fsspec's own configuration does (the variable FSSPEC_S3, or ~/.config/fsspec)."""


class Unreachable(StoreError):
    """The file system did not do what it was asked; it may when it is asked again."""

    transient = True


@dataclass(eq=False)
class Remote:
    """The file system behind one URL, and this machine's cache of it."""

    url: str
    cache: Path
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of every file that was listed or uploaded, by its name below the URL."""
    lost: set[str] = field(default_factory=set)
    """Folders whose lease another process has taken over."""
    _beats: dict[str, float] = field(default_factory=dict)
    _numbers_held: dict[str, int] = field(default_factory=dict)
    _pulled: dict[Path, float] = field(default_factory=dict)

    @cached_property
    def _files(self) -> tuple[Any, str]:
        """The file system and the store's path in it."""
        import fsspec

        scheme = self.url.split("://", 1)[0]
        try:
            options: dict[str, Any] = {"use_listings_cache": False}
            if scheme == "s3" and "config_kwargs" not in fsspec.config.conf.get("s3", {}):
                options |= S3
            if scheme == "file":
                options |= {"auto_mkdir": True}
            return tuple(fsspec.core.url_to_fs(self.url, **options))  # type: ignore[return-value]
        except (ImportError, ValueError) as e:
            raise StoreError(
                f"the store {self.url} cannot be opened: {e}\n"
                "  remedy: pip install -c constraints.txt -e '.[s3]' for s3://, or fsspec's package for other URLs"
            ) from None

    def _ask(self, call: str, *arguments: Any, **options: Any) -> Any:
        """Call the file system.

        Raises:
            FileNotFoundError, FileExistsError: as it says.
            StoreError: whatever else goes wrong.
        """
        try:
            return getattr(self._files[0], call)(*arguments, **options)
        except (FileNotFoundError, FileExistsError):
            raise
        except Exception as e:  # every file system has exceptions of its own
            told = f"the store {self.url} cannot be used ({call}): {type(e).__name__}: {e}"
            if isinstance(e, PermissionError) or "Credentials" in type(e).__name__:
                raise StoreError(f"{told}\n  remedy: give this process the right to read and write there") from None
            raise Unreachable(f"{told}\n  finished shards are kept, the same command goes on from there") from e

    def _there(self, name: str) -> str:
        return f"{self._files[1]}/{name}"

    def name(self, path: Path) -> str:
        """A cached file's name below the URL."""
        return path.relative_to(self.cache).as_posix()

    def size(self, path: Path) -> int | None:
        """Bytes of a file at the URL, as it was last listed."""
        return self.sizes.get(self.name(path))

    def names(self, folder: Path) -> set[str]:
        """Names of the files directly in a folder at the URL, as it was last listed."""
        inside = f"{self.name(folder)}/"
        return {n.removeprefix(inside) for n in self.sizes if n.startswith(inside)}

    def push(self, paths: Sequence[Path]) -> None:
        """Upload finished files, in order.

        Raises:
            StoreError: it did not work, or another process has taken the folder over.
        """
        for path in paths:
            name, size = self.name(path), path.stat().st_size
            self._refuse_lost(name)
            self._ask("put_file", str(path), self._there(name))
            self.sizes[name] = size
            if _is_note(PurePosixPath(*PurePosixPath(name).parts[2:])):
                self._note_pushed(name)

    def confirm(self, folder: Path) -> None:
        """Ask whether the lease of a folder is still this process's.

        Raises:
            StoreError: it is not.
        """
        self._look_for_another(folder)
        self._refuse_lost(f"{self.name(folder)}/")

    def _look_for_another(self, folder: Path) -> bool:
        """Whether another process has taken over the lease that this one held."""
        name = self.name(folder)
        held = self._numbers_held.get(name)
        if held is not None and max(self._numbers(folder), default=held) > held:
            self.lost.add(name)
        return name in self.lost

    def _refuse_lost(self, name: str) -> None:
        """Refuse to write to a folder that another process may have taken over for this one's silence."""
        folder = "/".join(name.split("/")[:2])
        silent = time.monotonic() - self._beats.get(folder, time.monotonic()) > PATIENCE - MARGIN
        if silent or folder in self.lost:
            raise StoreError(
                f"{self.url}/{folder} was taken over by another process, for this one gave no sign of life\n"
                "  remedy: run the same command again; what the other finishes is reused"
            )

    def check(self) -> None:
        """Write a small file as leases are written, and delete it.

        Raises:
            StoreError: that cannot be done, or the file system creates a file that is there already.
        """
        name = f"probe-{uuid.uuid4().hex}"
        try:
            once, twice = (self._create(name, content) for content in (b"1", b"2"))
        except FileNotFoundError as e:
            raise StoreError(f"the store {self.url} cannot be written to: {e}\n  remedy: create its bucket") from None
        self.delete([self.cache / name])
        if not once or twice:
            raise StoreError(
                f"the store {self.url} creates a file though it is there already, so two runs could write at once\n"
                "  remedy: use a file system that refuses that (S3: If-None-Match), or a directory"
            )

    def complete(self, paths: Sequence[Path]) -> None:
        """Upload those that are not there yet, for an earlier upload had failed."""
        self.push([p for p in paths if self.name(p) not in self.sizes])

    def fetch(self, path: Path, sha256: str | None = None) -> None:
        """Download a file into the cache.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it has another checksum.
        """
        with self._arriving(path) as temporary:
            self._ask("get_file", self._there(self.name(path)), str(temporary))
            if sha256 and sha256_file(temporary) != sha256:
                raise ValueError("its checksum is another")

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
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)

    def fetch_all(self, directory: Path) -> None:
        """Download what is below a folder, part by part; a part that is here in whatever state stays as it is."""
        inside = f"{self.name(directory)}/"
        names = [n.removeprefix(inside) for n in self._list(inside.rstrip("/"))]
        for part in sorted({n.split("/")[0] for n in names}):
            if (directory / part).exists():
                continue
            with self._arriving(directory / part) as temporary:
                for name in (n for n in names if n.split("/")[0] == part):
                    target = temporary / PurePosixPath(name).relative_to(part) if "/" in name else temporary
                    target.parent.mkdir(parents=True, exist_ok=True)
                    self._ask("get_file", self._there(inside + name), str(target))

    def keep(self, part: Path) -> None:
        """Upload a finished folder; of those beside it, only what is still here stays there."""
        with contextlib.suppress(FileNotFoundError):  # training has deleted it meanwhile, for there is a newer one
            self.push(sorted((p for p in part.rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns))
        beside = self._list(self.name(part.parent))
        self.delete([path for name in beside if not (path := self.cache / name).exists()])

    def delete_all(self, directory: Path, pattern: str) -> None:
        """Delete whatever there is below the folders in `directory` whose names match a pattern."""
        below = self._list(self.name(directory))
        depth = len(PurePosixPath(self.name(directory)).parts)
        self.delete([self.cache / n for n in below if fnmatch(PurePosixPath(n).parts[depth], pattern)])

    def delete(self, paths: Sequence[Path]) -> None:
        """Delete files at the URL; some may be gone."""
        for path in paths:
            self.sizes.pop(self.name(path), None)
            with contextlib.suppress(FileNotFoundError):
                self._ask("rm_file", self._there(self.name(path)))

    def set_aside(self, paths: Sequence[Path]) -> None:
        """Rename damaged files at the URL, and drop what the cache has of them."""
        for path in paths:
            path.unlink(missing_ok=True)
            there = self._there(self.name(path))
            self.sizes.pop(self.name(path), None)
            with contextlib.suppress(FileNotFoundError):
                self._ask("mv", there, there + DAMAGED)

    def same(self, path: Path) -> bool:
        """Whether a file at the URL is the one in the cache, byte for byte; False if either is not there."""
        try:
            return bool(path.read_bytes() == self._ask("cat_file", self._there(self.name(path))))
        except FileNotFoundError:
            return False

    def pull(self, paths: Sequence[Path]) -> None:
        """Make small files in the cache what they are at the URL; those that are not there stay as they are."""
        found = self._ask("cat", [self._there(self.name(p)) for p in paths], on_error="return") if paths else {}
        for path in paths:
            content = found.get(self._there(self.name(path)), FileNotFoundError())
            if isinstance(content, FileNotFoundError):
                continue
            if isinstance(content, Exception):
                raise Unreachable(f"the store {self.url} cannot be read: {type(content).__name__}: {content}")
            if not (path.is_file() and path.read_bytes() == content):
                with self._arriving(path) as temporary:
                    temporary.write_bytes(content)

    def pull_all(self, directory: Path, fresh: float = FRESH) -> None:
        """The same for all small files of a recipe's folder, unless that was done just now.

        "Just" is some seconds, or three times as long as it takes.
        """
        began = time.monotonic()
        if began < self._pulled.get(directory, -1.0):
            return
        folder = self.name(directory)
        listed = self._list(folder)
        for name in [n for n in self.sizes if n.startswith(f"{folder}/")]:
            del self.sizes[name]
        self.sizes |= {name: int(about["size"]) for name, about in listed.items()}
        marks = {n: _mark(about) for n, about in listed.items() if _is_note(PurePosixPath(n).relative_to(folder))}
        seen = self._seen(directory)
        for gone in (seen.keys() | self._pushed(directory)) - marks.keys():  # it was there, so somebody has deleted it
            (self.cache / gone).unlink(missing_ok=True)
        changed = [n for n, mark in marks.items() if seen.get(n) != mark or not (self.cache / n).exists()]
        self.pull([self.cache / n for n in changed])
        for name in changed:  # when a manifest was written, decides whether it is older than a run that is forced
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.cache / name, (_when(listed[name]),) * 2)
        self._seen_path(directory).parent.mkdir(parents=True, exist_ok=True)
        self._seen_path(directory).write_text(json.dumps(marks))
        self._seen_path(directory, ".pushed").unlink(missing_ok=True)
        self._pulled[directory] = time.monotonic() + max(fresh, 3 * (time.monotonic() - began))

    def listing(self, folder: str = "") -> dict[str, File]:
        """Every file there, or in a folder there, by its name below the URL."""
        return {name: File(int(about["size"]), _when(about)) for name, about in sorted(self._list(folder).items())}

    def sha256(self, path: Path) -> str:
        """Checksum of a file's bytes there."""
        with self._ask("open", self._there(self.name(path)), "rb") as content:
            return hashlib.file_digest(content, "sha256").hexdigest()

    def pull_matching(self, pattern: str) -> None:
        """Make small files whose names match a pattern what they are at the URL."""
        root = self._files[1]
        self.pull([self.cache / PurePosixPath(p).relative_to(root) for p in self._ask("glob", self._there(pattern))])

    def _list(self, folder: str) -> dict[str, dict[str, Any]]:
        """All files below a folder, by name."""
        root = self._files[1]
        with contextlib.suppress(FileNotFoundError):
            found = self._ask("find", self._there(folder), detail=True)
            return {str(PurePosixPath(p).relative_to(root)): about for p, about in found.items()}
        return {}

    def _seen_path(self, directory: Path, kind: str = ".json") -> Path:
        return self.cache / ".seen" / f"{self.name(directory).replace('/', '-')}{kind}"

    def _note_pushed(self, name: str) -> None:
        """Remember that a small file was put there, so that its absence later means that it was deleted there."""
        path = self._seen_path(self.cache / "/".join(name.split("/")[:2]), ".pushed")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as names:
            names.write(f"{name}\n")

    def _pushed(self, directory: Path) -> set[str]:
        with contextlib.suppress(FileNotFoundError):
            return set(self._seen_path(directory, ".pushed").read_text().splitlines())
        return set()

    def _seen(self, directory: Path) -> dict[str, str]:
        """Marks of the small files that were at the URL when it was last listed."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(self._seen_path(directory).read_text()))
        return {}

    @contextlib.contextmanager
    def held(self, folder: Path, what: str, tell: Callable[[str], None]) -> Iterator[None]:
        """Hold the lease of a folder within the block; while another process has it, wait and say so by `tell`."""
        wait = Wait(f"{what} at {self.url}", tell)
        while (number := self._acquire(folder, wait)) is None:
            time.sleep(POLL)
        with self._holding(folder, number):
            yield

    @contextlib.contextmanager
    def tried(self, folder: Path) -> Iterator[bool]:
        """Hold the lease of a folder within the block if nobody else does; whether that is so."""
        number = self._acquire(folder, Wait("", lambda _: None))
        if number is None:
            yield False
            return
        with self._holding(folder, number):
            yield True

    @contextlib.contextmanager
    def _holding(self, folder: Path, number: int) -> Iterator[None]:
        name = self.name(folder)
        self.lost.discard(name)
        self._numbers_held[name], self._beats[name] = number, time.monotonic()
        self._pulled.pop(folder, None)  # the holder before may have written there

        def beat(owner: Owner) -> None:
            began = time.monotonic()
            if not self._look_for_another(folder):
                self._ask("pipe_file", self._there(f"{name}/{LEASE}.{number}"), owner.dump())
                self._beats[name] = began

        try:
            with beating(Owner.me(), beat):
                yield
        finally:
            del self._numbers_held[name], self._beats[name]
            if name not in self.lost:
                with contextlib.suppress(StoreError):  # then it is taken over after a while
                    self._ask("pipe_file", self._there(f"{name}/{LEASE}.{number}"), b"")

    def _acquire(self, folder: Path, wait: Wait) -> int | None:
        """The number of the lease that this process now holds; None if another lives, or was faster."""
        name, numbers = f"{self.name(folder)}/{LEASE}", self._numbers(folder)
        last = max(numbers, default=0)
        content = self._read(f"{name}.{last}") if last else b""
        if content:
            wait.look(Owner.parse(content))
            if wait.silence <= PATIENCE:
                return None
        if not self._create(f"{name}.{last + 1}", Owner.me().dump()):
            wait.restart()
            return None
        self.delete([folder / f"{LEASE}.{old}" for old in numbers])
        return last + 1

    def _create(self, name: str, content: bytes) -> bool:
        """Create an object that is not there; whether it was us."""
        try:
            self._ask("pipe_file", self._there(name), content, mode="create")
        except FileExistsError:
            return self._read(name) == content  # it was, and the answer got lost
        return True

    def _numbers(self, folder: Path) -> list[int]:
        """Numbers of the leases of a folder that are there."""
        found = self._ask("glob", self._there(f"{self.name(folder)}/{LEASE}.*"))
        return sorted(int(n) for p in found if (n := PurePosixPath(p).suffix[1:]).isdigit())

    def _read(self, name: str) -> bytes:
        with contextlib.suppress(FileNotFoundError):
            return bytes(self._ask("cat_file", self._there(name)))
        return b""


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
    remote = Remote(url, folder / hashlib.sha256(url.encode()).hexdigest()[:16])
    remote._files  # noqa: B018  finding it out is the check
    return remote


def _is_note(path: PurePosixPath) -> bool:
    return path.suffix == ".json" and path.parts[:-1] in NOTES


def _mark(about: dict[str, Any]) -> str:
    """What changes when a listed file does."""
    return f"{about['size']} {about.get('ETag') or about.get('etag') or _when(about)}"


def _when(about: dict[str, Any]) -> float:
    """When a listed file was written, as Unix time in seconds; now if it does not say."""
    when = next((about[k] for k in ("LastModified", "mtime", "created", "updated") if about.get(k)), time.time())
    return float(when.timestamp() if isinstance(when, datetime) else when)
