"""The store at a URL: any file system that fsspec knows, such as S3 and what speaks like it.

Work happens in a directory on this machine, the cache. A finished file is uploaded there, shards before their sidecars
and everything before the manifest that names it, so what is at the URL counts only once it is all there. Small files
(sidecars, manifests) are kept the same on both sides; shards and adapters are fetched when they are wanted, and checked.

Writers take turns by leases that need one thing of the file system, to create an object only if it is not there: each
writer creates the next higher number, so of two that want to take over only one succeeds. A holder writes its lease anew
every few seconds; one that has not changed for `PATIENCE`, by the clock of who waits, is taken over. A holder that comes
back to life after that finds the higher number and uploads nothing more.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatch
from functools import cached_property, lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

from .files import DAMAGED, StoreError, replacing, sha256_file
from .lease import POLL, Owner, Wait, beating
from .manifest import File

CACHE = "SSB_CACHE"
"""Environment variable that names the folder of all caches; by default ~/.cache/ssb."""

PATIENCE = 30.0  # seconds without a sign of life after which a writer counts as dead
FRESH = 5.0  # seconds for which a listing is believed
NOTES = ((), ("shards",), ("manifests",), ("seconds",))  # folders of a recipe whose .json files are on both sides
S3 = {"config_kwargs": {"retries": {"max_attempts": 8, "mode": "standard"}, "connect_timeout": 10, "read_timeout": 60}}
"""What S3's client is told, unless fsspec's own configuration does (the variable FSSPEC_S3, or ~/.config/fsspec)."""


class Unreachable(StoreError):
    """The file system did not do what it was asked; it may when it is asked again."""

    transient = True


@dataclass(eq=False)
class Remote:
    """The file system behind one URL, and this machine's cache of it. One object per URL and process."""

    url: str
    cache: Path
    sizes: dict[str, int] = field(default_factory=dict)
    """Bytes of every file that was listed or uploaded, by its name below the URL."""
    lost: set[str] = field(default_factory=set)
    """Folders whose lease another process has taken over."""
    _pulled: dict[Path, float] = field(default_factory=dict)

    @staticmethod
    @lru_cache(maxsize=None)
    def of(url: str) -> Remote:
        """The remote at `url`.

        Raises:
            StoreError: nothing that is installed knows the URL.
        """
        url = url.rstrip("/")
        folder = Path(os.environ.get(CACHE) or "~/.cache/ssb").expanduser()
        remote = Remote(url, folder / hashlib.sha256(url.encode()).hexdigest()[:16])
        remote._files  # noqa: B018  finding it out is the check
        return remote

    @cached_property
    def _files(self) -> tuple[Any, str]:
        """The file system and the store's path in it."""
        import fsspec

        scheme = self.url.split("://", 1)[0]
        try:
            patient = S3 if scheme == "s3" and "config_kwargs" not in fsspec.config.conf.get("s3", {}) else {}
            return tuple(fsspec.core.url_to_fs(self.url, use_listings_cache=False, **patient))  # type: ignore[return-value]
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
            name = self.name(path)
            if taken := [folder for folder in self.lost if name.startswith(f"{folder}/")]:
                raise StoreError(
                    f"{self.url}/{taken[0]} was taken over by another process, for this one gave no sign of life\n"
                    "  remedy: run the same command again; what the other finishes is reused"
                )
            size = path.stat().st_size
            try:
                self._ask("put_file", str(path), self._there(name))
            except FileNotFoundError as e:
                raise StoreError(f"the store {self.url} cannot be written to: {e}\n  remedy: create its bucket") from None
            self.sizes[name] = size

    def check(self) -> None:
        """Write a small file, and delete it.

        Raises:
            StoreError: that cannot be done.
        """
        probe = self.cache / f"probe-{uuid.uuid4().hex}"
        with replacing(probe) as temporary:
            temporary.write_bytes(b"")
        try:
            self.push([probe])
            self.delete([probe])
        finally:
            probe.unlink()

    def complete(self, paths: Sequence[Path]) -> None:
        """Upload those that are not there yet, for an earlier upload had failed."""
        self.push([p for p in paths if self.name(p) not in self.sizes])

    def fetch(self, path: Path, sha256: str | None = None) -> None:
        """Download a file into the cache.

        Raises:
            FileNotFoundError: it is not there.
            ValueError: it has another checksum.
        """
        with replacing(path) as temporary:
            self._ask("get_file", self._there(self.name(path)), str(temporary))
            if sha256 and sha256_file(temporary) != sha256:
                raise ValueError("its checksum is another")

    def fetch_all(self, directory: Path) -> None:
        """Download what is below a folder and not here yet."""
        for name in self._list(self.name(directory)):
            if not (self.cache / name).exists():
                self.fetch(self.cache / name)

    def keep(self, part: Path) -> None:
        """Upload a finished folder; of those beside it, only what is still here stays there."""
        self.push(sorted((p for p in part.rglob("*") if p.is_file()), key=lambda p: p.stat().st_mtime_ns))
        beside = self._list(self.name(part.parent))
        self.delete([path for name in beside if not (path := self.cache / name).exists()])

    def delete_all(self, directory: Path, pattern: str) -> None:
        """Delete whatever there is below the folders in `directory` whose names match a pattern."""
        below = [n for n in self.sizes if n.startswith(f"{self.name(directory)}/")]
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
        found = self._ask("cat", [self._there(self.name(p)) for p in paths], on_error="omit") if paths else {}
        for path in paths:
            content = found.get(self._there(self.name(path)))
            if content is not None and not (path.is_file() and path.read_bytes() == content):
                path.parent.mkdir(parents=True, exist_ok=True)
                temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
                temporary.write_bytes(content)
                os.replace(temporary, path)

    def pull_all(self, directory: Path, fresh: float = FRESH) -> None:
        """The same for all small files of a recipe's folder, unless that was done within `fresh` seconds."""
        if time.monotonic() - self._pulled.get(directory, -fresh) < fresh:
            return
        folder = self.name(directory)
        listed = self._list(folder)
        for name in [n for n in self.sizes if n.startswith(f"{folder}/")]:
            del self.sizes[name]
        self.sizes |= {name: int(about["size"]) for name, about in listed.items()}
        marks = {n: _mark(about) for n, about in listed.items() if _is_note(PurePosixPath(n).relative_to(folder))}
        seen = self._seen(directory)
        for gone in seen.keys() - marks.keys():  # it was there once, so somebody has deleted it
            (self.cache / gone).unlink(missing_ok=True)
        changed = [n for n, mark in marks.items() if seen.get(n) != mark or not (self.cache / n).exists()]
        self.pull([self.cache / n for n in changed])
        for name in changed:  # when a manifest was written, decides whether it is older than a run that is forced
            with contextlib.suppress(FileNotFoundError):
                os.utime(self.cache / name, (_when(listed[name]),) * 2)
        self._seen_path(directory).parent.mkdir(parents=True, exist_ok=True)
        self._seen_path(directory).write_text(json.dumps(marks))
        self._pulled[directory] = time.monotonic()

    def listing(self) -> dict[str, File]:
        """Every file there by its name below the URL."""
        return {name: File(int(about["size"]), _when(about)) for name, about in sorted(self._list("").items())}

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

    def _seen_path(self, directory: Path) -> Path:
        return self.cache / ".seen" / f"{self.name(directory).replace('/', '-')}.json"

    def _seen(self, directory: Path) -> dict[str, str]:
        """Marks of the small files that were at the URL when it was last listed."""
        with contextlib.suppress(OSError, ValueError):
            return dict(json.loads(self._seen_path(directory).read_text()))
        return {}

    @contextlib.contextmanager
    def held(self, name: str, what: str, tell: Callable[[str], None]) -> Iterator[None]:
        """Hold the lease `name` within the block; while another process has it, wait and say so by `tell`."""
        folder = str(PurePosixPath(name).parent)
        number, own = self._acquire(name, Wait(f"{what} at {self.url}", tell))
        self.lost.discard(folder)
        self._pulled.pop(self.cache / folder, None)  # the holder before may have written there

        def beat(owner: Owner) -> None:
            if max(self._numbers(name), default=number) > number:
                self.lost.add(folder)
            if folder not in self.lost:
                self._ask("pipe_file", self._there(f"{name}.{number}"), own(owner))

        try:
            with beating(Owner.me(), beat):
                yield
        finally:
            if folder not in self.lost:
                with contextlib.suppress(StoreError):  # then it is taken over after a while
                    self._ask("pipe_file", self._there(f"{name}.{number}"), b"")

    def _acquire(self, name: str, wait: Wait) -> tuple[int, Callable[[Owner], bytes]]:
        """The number of the lease that this process now holds, and how it says that it lives."""
        token = uuid.uuid4().hex

        def own(owner: Owner) -> bytes:
            return json.dumps({"token": token, "owner": owner.dump().decode()}).encode()

        while True:
            numbers = self._numbers(name)
            last = max(numbers, default=0)
            content = self._read(f"{name}.{last}") if last else b""
            if content:
                wait.look(_owner(content))
            if not content or wait.silence > PATIENCE:
                if self._create(f"{name}.{last + 1}", own(Owner.me())):
                    for old in numbers:
                        with contextlib.suppress(FileNotFoundError):
                            self._ask("rm_file", self._there(f"{name}.{old}"))
                    return last + 1, own
                wait.restart()
            else:
                time.sleep(POLL)

    def _create(self, name: str, content: bytes) -> bool:
        """Create an object that is not there; whether it was us."""
        try:
            self._ask("pipe_file", self._there(name), content, mode="create")
        except FileExistsError:
            return self._read(name) == content  # it was, and the answer got lost
        return True

    def _numbers(self, name: str) -> list[int]:
        """Numbers of the leases that are there."""
        found = self._ask("glob", self._there(f"{name}.*"))
        return sorted(int(n) for p in found if (n := PurePosixPath(p).suffix[1:]).isdigit())

    def _read(self, name: str) -> bytes:
        with contextlib.suppress(FileNotFoundError):
            return bytes(self._ask("cat_file", self._there(name)))
        return b""


def _owner(content: bytes) -> Owner | None:
    with contextlib.suppress(ValueError, KeyError):
        return Owner.parse(json.loads(content)["owner"].encode())
    return None


def _is_note(path: PurePosixPath) -> bool:
    return path.suffix == ".json" and path.parts[:-1] in NOTES


def _mark(about: dict[str, Any]) -> str:
    """What changes when a listed file does."""
    return f"{about['size']} {about.get('ETag') or about.get('etag') or _when(about)}"


def _when(about: dict[str, Any]) -> float:
    """When a listed file was written, as Unix time in seconds; now if it does not say."""
    when = next((about[k] for k in ("LastModified", "mtime", "created", "updated") if about.get(k)), time.time())
    return float(when.timestamp() if isinstance(when, datetime) else when)
