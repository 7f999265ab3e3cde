"""Where results live: content-named shards, sidecars and manifests under one directory, or one URL.

    store/format.json                how the rest is laid out
    store/<stage>/<recipe>/recipe.json               how rows are made, readable
    store/<stage>/<recipe>/writer.lock               who writes there now (`lease`)
    store/<stage>/<recipe>/shards/<name>.parquet     rows of the problems the name is a digest of
    store/<stage>/<recipe>/shards/<name>.json        sidecar: rows, size, checksum, problem ids, source checksum
    store/<stage>/<recipe>/manifests/<fingerprint>.json   what one request is made of, written last

A file is written under a temporary name, fsynced and renamed, so a name that exists is complete. Every shard is read
against its checksum. What does not verify is set aside (renamed to ``*.damaged``) with a warning and made again alone.

A store at a URL (`remote`) is a directory on this machine whose finished files are copied there, and fetched from there
when they are wanted. Nothing here knows about stages.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from .. import parquet
from . import lease
from .files import (
    Damaged,
    StoreError,
    exclusive,
    fsync,
    refuse_to_judge,
    replacing,
    set_aside,
    sha256_file,
    sweep,
    write_json,
)
from .manifest import Entry, File, Manifest, Recipe, Shard, digest, with_digest
from .remote import Remote, Unreachable, remote_at

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = (
    "Damaged",
    "Entry",
    "File",
    "Manifest",
    "Recipe",
    "Shard",
    "Store",
    "StoreError",
    "Unreachable",
    "digest",
    "exclusive",
    "fsync",
    "refuse_to_judge",
    "replacing",
    "set_aside",
    "sha256_file",
    "sweep",
    "write_json",
)

log = logging.getLogger(__name__)

FORMAT = 1
"""How the store is laid out; bump it when a reader of older ones would misread it."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError)


@dataclass(frozen=True, slots=True)
class Store:
    """The store at `root`, and at a URL if it has a `remote`; directories appear when something is written."""

    root: Path
    remote: Remote | None = None

    @classmethod
    def at(cls, location: str | Path) -> Self:
        """The store at a path, or at any URL that fsspec knows.

        Raises:
            StoreError: nothing is installed that knows the URL.
        """
        if "://" not in str(location):
            return cls(Path(location))
        remote = remote_at(str(location))
        return cls(remote.cache, remote)

    @property
    def location(self) -> str:
        """What `at` makes the same store of, wherever this process's working directory is."""
        return self.remote.url if self.remote else str(self.root.absolute())

    def __str__(self) -> str:
        return self.remote.url if self.remote else str(self.root)

    def directory(self, recipe: Recipe) -> Path:
        return self.root / recipe.stage / recipe.hash

    def check(self, write: bool = True) -> None:
        """Refuse a store that cannot be used, before any work; to `write`, a small file is put at its URL for a moment.

        Raises:
            StoreError: another version has laid it out, or its URL cannot be written to.
        """
        if self.remote and write:
            self.remote.check()
        self._check_format()

    def _check_format(self) -> None:
        path = self.root / "format.json"
        self.pull(path)
        if not path.exists():
            return
        try:
            found = json.loads(path.read_bytes())["format"]
        except UNREADABLE as e:
            remedy = f'remedy: it should hold {{"format": {FORMAT}}}'
            raise StoreError(f"{path} cannot be read ({e})\n  {remedy}") from None
        if found != FORMAT:
            raise StoreError(
                f"the store {self} has format {found}, this version of ssb reads format {FORMAT}\n"
                "  remedy: give another --store, or use the version of ssb that wrote it"
            )

    @contextlib.contextmanager
    def writing(self, recipe: Recipe, tell: Callable[[str], None] = log.info) -> Iterator[None]:
        """Be the only writer of a recipe within the block; while another process is, wait for it and `tell` of it."""
        self._check_format()
        path, what = self.directory(recipe) / "writer.lock", f"{recipe.stage}/{recipe.hash}"
        with contextlib.ExitStack() as kept:
            kept.enter_context(lease.held(path, what, tell))
            if self.remote:
                kept.enter_context(self.remote.held(path.parent, what, tell))
            yield

    @contextlib.contextmanager
    def alone(self, folder: Path) -> Iterator[bool]:
        """Be the only writer of a recipe's folder within the block if nobody else is now; whether that is so."""
        with contextlib.ExitStack() as kept:
            free = kept.enter_context(lease.tried(folder / "writer.lock"))
            if free and self.remote:
                free = kept.enter_context(self.remote.tried(folder))
            yield free

    def open(self, recipe: Recipe) -> Path:
        """Make the recipe's directory, note the recipe in it, and sweep what killed writers left."""
        directory = self.directory(recipe)
        for part in ("shards", "manifests"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        sweep(directory, alone=True)
        sweep(self.root, below=False)  # of the format's note
        self._pull_all(directory)
        notes = {self.root / "format.json": {"format": FORMAT}, directory / "recipe.json": recipe.content}
        for path, content in notes.items():
            if _json(path) != json.loads(json.dumps(content)):
                self._write_json(path, content)
        return directory

    def shard(self, recipe: Recipe, name: str, source: str | None) -> Shard | None:
        """The shard called `name` if it is whole and was made from `source`; a damaged one is set aside."""
        sidecar = self.directory(recipe) / "shards" / f"{name}.json"
        table = sidecar.with_suffix(".parquet")
        if not sidecar.exists():
            return None
        try:
            shard = Shard.read(sidecar)
            size = self._size(table)
            if size != shard.entry.bytes:
                raise ValueError("it is gone" if size is None else f"{size} bytes, expected {shard.entry.bytes}")
        except UNREADABLE as e:
            refuse_to_judge(e)
            self.set_aside([sidecar, table], f"damaged shard ({e})")
            if not self.remote:
                return None
            self.remote.pull([sidecar])  # it may be whole there
            return self.shard(recipe, name, source)
        if shard.source != source:
            return None
        if self.remote:
            self.remote.complete((table, sidecar))
        return shard

    def shard_names(self, recipe: Recipe) -> set[str]:
        """Names of the shards that are there; a look that changes nothing."""
        folder = self.directory(recipe) / "shards"
        here = os.listdir(folder) if folder.is_dir() else []
        files = {*here, *(self.remote.names(folder) if self.remote else ())}
        tables, sidecars = ({f.removesuffix(s) for f in files if f.endswith(s)} for s in (".parquet", ".json"))
        return tables & sidecars

    def write_shard(
        self, recipe: Recipe, name: str, table: pa.Table, problem_ids: Sequence[str], source: str | None
    ) -> Shard:
        """Commit `table` as the shard called `name`."""
        path = self.directory(recipe) / "shards" / f"{name}.parquet"
        with replacing(path) as temporary:
            parquet.write(table, temporary)
            entry = Entry(f"shards/{path.name}", temporary.stat().st_size, sha256_file(temporary), table.num_rows)
        shard = Shard(entry, tuple(problem_ids), source)
        write_json(path.with_suffix(".json"), with_digest(asdict(shard)))
        if self.remote:
            self.remote.push((path, path.with_suffix(".json")))
        return shard

    def manifest(self, recipe: Recipe, fingerprint: str) -> Manifest | None:
        """The manifest of a finished request if every file it lists is there with the right size."""
        return self.named(recipe.stage, recipe.hash, fingerprint)

    def named(self, stage: str, recipe_hash: str, fingerprint: str) -> Manifest | None:
        """The same by names alone, as runs note them."""
        path = self._place(stage, recipe_hash, fingerprint)
        self._pull_all(path.parents[1])
        if not path.exists() or (self.remote and self.remote.size(path) is None):
            return None
        try:
            manifest = Manifest.read(path)
        except UNREADABLE as e:
            refuse_to_judge(e)
            log.warning("%s: damaged manifest (%s); it will be written anew", path, e)
            return None
        directory = str(path.parent.parent)
        return manifest if all(self._whole(directory, e) for e in manifest.entries) else None

    def committed(self, manifest: Manifest) -> float:
        """When a manifest was written, as Unix time in seconds."""
        return self._place(manifest.stage, manifest.recipe, manifest.fingerprint).stat().st_mtime

    def commit(self, recipe: Recipe, manifest: Manifest) -> Manifest:
        """Write the manifest: from here on the request is finished."""
        if self.remote and (directory := self.directory(recipe) / manifest.fingerprint).is_dir():
            self.remote.push(sorted(p for p in directory.rglob("*") if p.is_file()))
        path = self._place(recipe.stage, recipe.hash, manifest.fingerprint)
        if self.remote:
            self.remote.confirm(path.parents[1])
        self._write_json(path, asdict(manifest) | {"digest": manifest.key})
        return manifest

    def _place(self, stage: str, recipe_hash: str, fingerprint: str) -> Path:
        return self.root / stage / recipe_hash / "manifests" / f"{fingerprint}.json"

    def _whole(self, directory: str, entry: Entry) -> bool:
        """Whether a file of a manifest is there with its size, and its sidecar with its checksum.

        One stat and one read a shard, by plain strings: as path objects they take three times as long, of 100,000
        seconds.
        """
        path = f"{directory}/{entry.path}"
        try:
            size: int | None = os.stat(path).st_size
        except OSError:
            size = self.remote.size(Path(path)) if self.remote else None
        if size != entry.bytes or not path.endswith(".parquet"):
            return size == entry.bytes
        try:
            with open(f"{path.removesuffix('.parquet')}.json", "rb", buffering=0) as sidecar:
                return entry.sha256.encode() in sidecar.read()
        except OSError:
            return False

    def tables(self, manifest: Manifest, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The shards of a request as tables, in order, each read against its checksum.

        Raises:
            Damaged: a shard is not what was written.
        """
        for entry in manifest.entries:
            yield self.table(manifest, entry, columns)

    def table(self, manifest: Manifest, entry: Entry, columns: list[str] | None = None) -> pa.Table:
        """One shard of a request as a table; as `tables`."""
        path = self.path(manifest, entry)
        try:
            return parquet.read(path, entry.sha256, columns)
        except (FileNotFoundError, ValueError) as e:
            raise self._damaged(path, e) from None

    def schema(self, manifest: Manifest, entry: Entry) -> pa.Schema:
        """Columns and metadata of one shard; as `tables`."""
        path = self.path(manifest, entry)
        try:
            return parquet.schema(path, entry.sha256)
        except (FileNotFoundError, ValueError) as e:
            raise self._damaged(path, e) from None

    def verify(self, manifest: Manifest) -> None:
        """Read every file of a request that is no table, such as an adapter's, against its checksum.

        Raises:
            Damaged: one is not what was written.
        """
        for entry in manifest.entries:
            path = self.path(manifest, entry)
            if path.suffix != ".parquet" and sha256_file(path) != entry.sha256:
                raise self._damaged(path, ValueError("its checksum is another"))

    def _damaged(self, path: Path, why: Exception) -> Damaged:
        """What to raise of a file that is not what was written; it is set aside."""
        if _is_as_its_sidecar_says(path):
            return Damaged(f"{path} was made anew while an older request read it")
        self.set_aside([path, *([path.with_suffix(".json")] if path.suffix == ".parquet" else [])], f"damaged ({why})")
        return Damaged(f"{path} was damaged ({why})")

    def path(self, manifest: Manifest, entry: Entry) -> Path:
        """Where a file of a request is, on this machine; one that is only at the store's URL is fetched.

        Raises:
            Damaged: what is fetched is not what was written.
        """
        path = self._file(manifest, entry)
        if self.remote and not (path.is_file() and path.stat().st_size == entry.bytes):
            try:
                self.remote.fetch(path, entry.sha256)
            except ValueError as e:
                raise self._damaged(path, e) from None
        return path

    def beside(self, recipe: Recipe, path: str) -> Path:
        """A file of a recipe's directory that no manifest lists, as `path`; it need not exist."""
        found = self.directory(recipe) / path
        if self.remote and not found.exists():
            with contextlib.suppress(FileNotFoundError):
                self.remote.fetch(found)
        return found

    def _file(self, manifest: Manifest, entry: Entry) -> Path:
        return self.root / manifest.stage / manifest.recipe / entry.path

    def sidecar(self, manifest: Manifest, entry: Entry) -> Shard:
        """The sidecar of one shard of a request.

        Raises:
            Damaged: it cannot be read.
        """
        path = self._file(manifest, entry)
        try:
            return Shard.read(path.with_suffix(".json"))
        except UNREADABLE as e:
            refuse_to_judge(e)
            raise self._damaged(path, e) from None

    def add_seconds(self, recipe: Recipe, fingerprint: str, seconds: float) -> None:
        """Note time spent on a request that was begun, beside its manifest: equal work must give equal manifests."""
        if self.directory(recipe).exists():
            total = round(self.seconds(recipe, fingerprint) + seconds, 3)
            self._write_json(self._seconds(recipe, fingerprint), {"seconds": total})

    def seconds(self, recipe: Recipe, fingerprint: str) -> float:
        """What was noted of a request so far."""
        try:
            return float(_json(self._seconds(recipe, fingerprint))["seconds"])
        except (KeyError, TypeError, ValueError):
            return 0.0

    def _seconds(self, recipe: Recipe, fingerprint: str) -> Path:
        return self.directory(recipe) / "seconds" / f"{fingerprint}.json"

    def work(self, recipe: Recipe, fingerprint: str, version: str) -> Path:
        """A directory for work that outlives a kill; those of the request's other versions are deleted."""
        path = self.directory(recipe) / f"{fingerprint}.{version}.work"
        for other in path.parent.glob(f"{fingerprint}.*.work"):
            if other != path:
                shutil.rmtree(other, ignore_errors=True)
        path.mkdir(parents=True, exist_ok=True)
        if self.remote:
            self.remote.fetch_all(path)
        return path

    def keep(self, part: Path) -> None:
        """Upload a finished part of unfinished work, such as a checkpoint, so that another machine can go on."""
        if self.remote:
            self.remote.keep(part)

    def drop_work(self, manifest: Manifest) -> None:
        """Delete what is left of the work on a finished request."""
        directory, pattern = self.root / manifest.stage / manifest.recipe, f"{manifest.fingerprint}.*.work"
        lease.clear(directory / "writer.lock")
        for path in directory.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)
        if self.remote:
            self.remote.delete_all(directory, pattern)

    def forget(self, manifest: Manifest) -> None:
        """Delete a request's manifest, files and work, so that it is made again."""
        self.drop_work(manifest)
        directory = self.root / manifest.stage / manifest.recipe
        self.delete([directory / kind / f"{manifest.fingerprint}.json" for kind in ("manifests", "seconds")])
        files = [directory / entry.path for entry in manifest.entries]
        self.delete([p for f in files for p in (f.with_suffix(".json"), f)])

    def listing(self, below: Sequence[str] = ()) -> dict[str, File]:
        """Every file of the store, or of a folder in it, by its name; of a store at a URL, what is there."""
        if self.remote:
            return self.remote.listing("/".join(below))
        return dict(sorted(_listed(str(self.root.joinpath(*below)), "".join(f"{part}/" for part in below))))

    def sha256(self, path: Path) -> str:
        """Checksum of a file's bytes as they are now; of a store at a URL, there."""
        return self.remote.sha256(path) if self.remote else sha256_file(path)

    def recipes(self, stage: str) -> Iterator[dict[str, Any]]:
        """Contents of every recipe of a stage that has been run here."""
        if self.remote:
            self.remote.pull_matching(f"{stage}/*/recipe.json")
        found = (_json(path) for path in sorted((self.root / stage).glob("*/recipe.json")))
        yield from (content for content in found if isinstance(content, dict))

    def _size(self, path: Path) -> int | None:
        if path.is_file():
            return path.stat().st_size
        return self.remote.size(path) if self.remote else None

    def _write_json(self, path: Path, content: Any) -> None:
        write_json(path, content)
        if self.remote:
            self.remote.push([path])

    def set_aside(self, paths: Sequence[Path], why: str) -> None:
        """Rename damaged files, so that they are made again; where only this machine's copy is damaged, drop that."""
        if not self.remote:
            set_aside(paths, why)
        elif all(self.remote.same(p) for p in paths if p.exists()):
            log.warning("%s: %s; set aside at %s and made again", paths[0], why, self.remote.url)
            self.remote.set_aside(paths)
        else:
            log.warning("%s: %s; this copy is dropped, that at %s is used", paths[0], why, self.remote.url)
            for path in paths:
                path.unlink(missing_ok=True)

    def delete(self, paths: Sequence[Path]) -> None:
        """Delete files, in order; some may be gone."""
        for path in paths:
            path.unlink(missing_ok=True)
        if self.remote:
            self.remote.delete(paths)

    def pull(self, path: Path) -> None:
        """Make a small file on this machine what it is at the store's URL, if it has one."""
        if self.remote:
            self.remote.pull([path])

    def _pull_all(self, directory: Path) -> None:
        if self.remote:
            self.remote.pull_all(directory)


def _listed(folder: str, name: str) -> Iterator[tuple[str, File]]:
    """Every file below a folder, with `name` in front of its own."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                yield from _listed(entry.path, f"{name}{entry.name}/")
            else:
                with contextlib.suppress(FileNotFoundError):  # its writer has renamed it meanwhile
                    about = entry.stat()
                    yield f"{name}{entry.name}", File(about.st_size, about.st_mtime)


def _is_as_its_sidecar_says(path: Path) -> bool:
    """Whether a shard is just another than who reads it expects."""
    try:
        return path.suffix == ".parquet" and Shard.read(path.with_suffix(".json")).entry.sha256 == sha256_file(path)
    except UNREADABLE:
        return False


def _json(path: Path) -> Any:
    """What a file holds as JSON; None if it is not there or damaged."""
    try:
        return json.loads(path.read_bytes())
    except UNREADABLE as e:
        refuse_to_judge(e)
        return None
