"""Where results live: content-named shards, sidecars and manifests under one directory.

    store/<stage>/<recipe>/recipe.json               how rows are made, readable
    store/<stage>/<recipe>/shards/<name>.parquet     rows of the problems the name is a digest of
    store/<stage>/<recipe>/shards/<name>.json        sidecar: rows, size, checksum, problem ids, source checksum
    store/<stage>/<recipe>/manifests/<fingerprint>.json   what one request is made of, written last

A file is written under a temporary name, fsynced and renamed, so a name that exists is complete. What does not verify
is set aside (renamed to ``*.damaged``) with a warning and made again alone. Nothing here knows about stages.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import parquet

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


class StoreError(RuntimeError):
    """Something the store should hold is not there or cannot be used."""


def digest(content: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of `content` as canonical JSON.

    Raises:
        TypeError: `content` holds something JSON cannot express stably (an object, a set, NaN).
    """
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except ValueError as e:
        raise TypeError(f"cannot hash {content!r}: {e}") from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, read in pieces."""
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a stage makes rows. Its `hash` names the stage's directory."""

    stage: str
    content: dict[str, Any]

    @property
    def hash(self) -> str:
        return digest({"stage": self.stage, **self.content})


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a manifest: path below the recipe's directory, size in bytes, checksum, rows (0 if no table)."""

    path: str
    bytes: int
    sha256: str
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Shard:
    """A sidecar: the shard's entry, the problems in it, and the checksum of the upstream shard it was made from."""

    entry: Entry
    problem_ids: tuple[str, ...]
    source: str | None


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one request of a stage is made of. `facts` are small figures about the rows; no times, so bytes repeat."""

    stage: str
    recipe: str
    fingerprint: str
    entries: tuple[Entry, ...]
    sources: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of its shards; of a distillation, the traces it was trained on."""
        return int(self.facts.get("traces", sum(e.rows for e in self.entries)))

    @property
    def units(self) -> int:
        """What a restart can spare: training steps where the facts count them, else files."""
        return int(self.facts.get("steps", len(self.entries)))

    @property
    def key(self) -> str:
        """Digest of the contents; equal for equal results."""
        return digest(asdict(self))


@dataclass(frozen=True, slots=True)
class Store:
    """The store at `root`; directories appear when something is written."""

    root: Path

    def directory(self, recipe: Recipe) -> Path:
        return self.root / recipe.stage / recipe.hash

    def open(self, recipe: Recipe) -> Path:
        """Make the recipe's directory, note the recipe in it, and sweep what killed writers left."""
        directory = self.directory(recipe)
        for part in ("shards", "manifests"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        if not (directory / "recipe.json").exists():
            write_json(directory / "recipe.json", recipe.content)
        sweep(directory)
        return directory

    def shard(self, recipe: Recipe, name: str, source: str | None) -> Shard | None:
        """The shard called `name` if it is whole and was made from `source`; a damaged one is set aside."""
        directory = self.directory(recipe)
        sidecar = directory / "shards" / f"{name}.json"
        table = sidecar.with_suffix(".parquet")
        if not sidecar.exists():
            return None
        try:
            shard = _read_sidecar(sidecar)
            if table.stat().st_size != shard.entry.bytes:
                raise ValueError(f"{table.stat().st_size} bytes, expected {shard.entry.bytes}")
        except (OSError, ValueError, KeyError, TypeError) as e:
            _refuse_to_judge(e)
            set_aside([sidecar, table], f"damaged shard ({e})")
            return None
        return shard if shard.source == source else None

    def has_shard(self, recipe: Recipe, name: str) -> bool:
        """Whether a shard of that name is there; a look that changes nothing."""
        table = self.directory(recipe) / "shards" / f"{name}.parquet"
        return table.exists() and table.with_suffix(".json").exists()

    def write_shard(
        self, recipe: Recipe, name: str, table: pa.Table, problem_ids: Sequence[str], source: str | None
    ) -> Shard:
        """Commit `table` as the shard called `name`."""
        path = self.directory(recipe) / "shards" / f"{name}.parquet"
        with replacing(path) as temporary:
            parquet.write(table, temporary)
            entry = Entry(f"shards/{path.name}", temporary.stat().st_size, sha256_file(temporary), table.num_rows)
        shard = Shard(entry, tuple(problem_ids), source)
        write_json(path.with_suffix(".json"), asdict(shard))
        return shard

    def manifest(self, recipe: Recipe, fingerprint: str) -> Manifest | None:
        """The manifest of a finished request if every file it lists is there with the right size."""
        return self.named(recipe.stage, recipe.hash, fingerprint)

    def committed(self, manifest: Manifest) -> float:
        """When a manifest was written, as Unix time in seconds."""
        return self._place(manifest.stage, manifest.recipe, manifest.fingerprint).stat().st_mtime

    def _place(self, stage: str, recipe_hash: str, fingerprint: str) -> Path:
        return self.root / stage / recipe_hash / "manifests" / f"{fingerprint}.json"

    def named(self, stage: str, recipe_hash: str, fingerprint: str) -> Manifest | None:
        """The same by names alone, as runs note them."""
        path = self._place(stage, recipe_hash, fingerprint)
        if not path.exists():
            return None
        try:
            raw = json.loads(path.read_text())
            entries = tuple(Entry(**e) for e in raw.pop("entries"))
            manifest = Manifest(**{**raw, "entries": entries, "sources": tuple(raw["sources"])})
        except (OSError, ValueError, KeyError, TypeError) as e:
            _refuse_to_judge(e)
            log.warning("%s: damaged manifest (%s); it will be written anew", path, e)
            return None
        return manifest if all(self._whole(manifest, e) for e in manifest.entries) else None

    def _whole(self, manifest: Manifest, entry: Entry) -> bool:
        path = self.path(manifest, entry)
        sidecar = path.with_suffix(".json")
        if not path.is_file() or path.stat().st_size != entry.bytes:
            return False
        return path.suffix != ".parquet" or (sidecar.is_file() and entry.sha256 in sidecar.read_text())

    def commit(self, recipe: Recipe, manifest: Manifest) -> Manifest:
        """Write the manifest: from here on the request is finished."""
        write_json(self.directory(recipe) / "manifests" / f"{manifest.fingerprint}.json", asdict(manifest))
        return manifest

    def add_seconds(self, recipe: Recipe, fingerprint: str, seconds: float) -> None:
        """Note time spent on a request that was begun, beside its manifest: equal work must give equal manifests."""
        if not self.directory(recipe).exists():
            return
        path = self._seconds(recipe, fingerprint)
        write_json(path, {"seconds": round(self.seconds(recipe, fingerprint) + seconds, 3)})

    def seconds(self, recipe: Recipe, fingerprint: str) -> float:
        """What was noted of a request so far; nothing if the note is damaged."""
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            return float(json.loads(self._seconds(recipe, fingerprint).read_text())["seconds"])
        return 0.0

    def _seconds(self, recipe: Recipe, fingerprint: str) -> Path:
        return self.directory(recipe) / "seconds" / f"{fingerprint}.json"

    def tables(self, manifest: Manifest, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The shards of a request as tables, in order, page checksums verified.

        Raises:
            StoreError: a shard is damaged; it is set aside, so that the same command makes it again.
        """
        for entry in manifest.entries:
            yield self.table(manifest, entry, columns)

    def table(self, manifest: Manifest, entry: Entry, columns: list[str] | None = None) -> pa.Table:
        """One shard of a request as a table."""
        import pyarrow.parquet as pq

        path = self.path(manifest, entry)
        try:
            return pq.ParquetFile(path, page_checksum_verification=True).read(columns)
        except (OSError, ValueError) as e:
            _refuse_to_judge(e)
            set_aside([path, path.with_suffix(".json")], f"damaged shard ({e})")
            raise StoreError(f"{path} was damaged and is set aside; run the same command again") from None

    def path(self, manifest: Manifest, entry: Entry) -> Path:
        """Where a file of a request is."""
        return self.root / manifest.stage / manifest.recipe / entry.path

    def sidecar(self, manifest: Manifest, entry: Entry) -> Shard:
        """The sidecar of one shard of a request."""
        return _read_sidecar(self.path(manifest, entry).with_suffix(".json"))

    def work(self, recipe: Recipe, fingerprint: str, version: str) -> Path:
        """A directory for work that outlives a kill; those of the request's other versions are deleted."""
        path = self.directory(recipe) / f"{fingerprint}.{version}.work"
        for other in path.parent.glob(f"{fingerprint}.*.work"):
            if other != path:
                shutil.rmtree(other, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def drop_work(self, manifest: Manifest) -> None:
        """Delete what is left of the work on a finished request."""
        for path in (self.root / manifest.stage / manifest.recipe).glob(f"{manifest.fingerprint}.*.work"):
            shutil.rmtree(path, ignore_errors=True)

    def forget(self, manifest: Manifest) -> None:
        """Delete a request's manifest, files and work, so that it is made again."""
        self.drop_work(manifest)
        directory = self.root / manifest.stage / manifest.recipe
        for kind in ("manifests", "seconds"):
            (directory / kind / f"{manifest.fingerprint}.json").unlink(missing_ok=True)
        for entry in manifest.entries:
            for path in (directory / entry.path, (directory / entry.path).with_suffix(".json")):
                path.unlink(missing_ok=True)

    def recipes(self, stage: str) -> Iterator[dict[str, Any]]:
        """Contents of every recipe of a stage that has been run here."""
        for path in sorted((self.root / stage).glob("*/recipe.json")):
            with contextlib.suppress(OSError, ValueError):
                yield json.loads(path.read_text())


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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write; on success it is fsynced and renamed to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
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
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n")


def set_aside(paths: Sequence[Path], why: str) -> None:
    """Rename what cannot be trusted to ``*.damaged`` so that it is made again, and say so."""
    for path in paths:
        if path.exists():
            log.warning("%s: %s; set aside and made again", path, why)
            os.replace(path, path.with_name(path.name + ".damaged"))


def _refuse_to_judge(error: Exception) -> None:
    """Raise what the operating system says of itself (too many open files, no permission): no file is damaged by it."""
    if isinstance(error, OSError) and error.errno not in (None, errno.ENOENT):
        raise error


def _read_sidecar(path: Path) -> Shard:
    raw = json.loads(path.read_text())
    return Shard(Entry(**raw["entry"]), tuple(raw["problem_ids"]), raw["source"])


def fsync(path: Path) -> None:
    """Wait until a file's bytes, or a directory's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sweep(directory: Path) -> None:
    """Delete temporary files whose writers are dead."""
    for path in directory.rglob("*.tmp"):
        writer = re.search(r"\.(\d+)\.tmp$", path.name)
        if writer and not _alive(int(writer[1])):
            path.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
