"""The store: what stages ask of it, write to it and read from it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import Damaged
from . import lock, parquet
from .files import UNREADABLE, atomic_write, delete_temporary, raise_system_error, read_json, sha256_file, write_json
from .local import Local
from .manifest import FORMAT, FileEntry, Manifest, Recipe, Sidecar, refuse_other_format, with_digest
from .remote import Remote, remote_at

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


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

    @property
    def backend(self) -> Local | Remote:
        """The files where everybody finds them: at the store's URL, or just in its directory."""
        return self.remote or Local(self.root)

    def directory(self, recipe: Recipe) -> Path:
        return self.root / recipe.stage / recipe.hash

    def check(self, write: bool = True) -> None:
        """Refuse a store that cannot be used, before any work; to `write`, a small file is put at its URL for a moment.

        Raises:
            StoreError: another version has laid it out, or its URL cannot be written to.
        """
        if self.remote and write:
            self.remote.files.check()
        self._check_format()

    def _check_format(self) -> None:
        path = self.root / "format.json"
        self.backend.refresh([path])
        refuse_other_format(path, str(self))

    @contextlib.contextmanager
    def exclusive(self, recipe: Recipe, tell: Callable[[str], None] = log.info) -> Iterator[None]:
        """Be the only writer of a recipe within the block; while another process is, wait for it and `tell` of it."""
        self._check_format()
        path, what = self.directory(recipe) / "writer.lock", f"{recipe.stage}/{recipe.hash}"
        with lock.acquire(path, what, tell), self.backend.lock(path.parent, what, tell):
            yield

    @contextlib.contextmanager
    def try_exclusive(self, folder: Path) -> Iterator[bool]:
        """Be the only writer of a recipe's folder within the block if nobody else is now; whether that is so."""
        with contextlib.ExitStack() as kept:
            leases = (lock.try_acquire(folder / "writer.lock"), self.backend.try_lock(folder))
            yield all(kept.enter_context(tried) for tried in leases)

    def prepare(self, recipe: Recipe) -> Path:
        """Make the recipe's directory, note the recipe in it, and sweep what killed writers left."""
        directory = self.directory(recipe)
        for part in ("shards", "manifests"):
            (directory / part).mkdir(parents=True, exist_ok=True)
        delete_temporary(directory, alone=True)
        delete_temporary(self.root, below=False)  # of the format's note
        self.backend.refresh_recipe(directory)
        notes = {self.root / "format.json": {"format": FORMAT}, directory / "recipe.json": recipe.content}
        for path, content in notes.items():
            if read_json(path) != json.loads(json.dumps(content)):
                self.write_json(path, content)
        return directory

    def find_shard(self, recipe: Recipe, name: str, source: str | None) -> Sidecar | None:
        """The shard called `name` if it is whole and was made from `source`; a damaged one is set aside."""
        sidecar = self.directory(recipe) / "shards" / f"{name}.json"
        table = sidecar.with_suffix(".parquet")
        if not sidecar.exists():
            return None
        try:
            shard = Sidecar.read(sidecar)
            size = table.stat().st_size if table.is_file() else self.backend.size(table)
            if size != shard.entry.bytes:
                raise ValueError("it is gone" if size is None else f"{size} bytes, expected {shard.entry.bytes}")
        except UNREADABLE as e:
            raise_system_error(e)
            self.backend.set_aside([sidecar, table], f"damaged shard ({e})")
            self.backend.refresh([sidecar])  # it may be whole at the URL
            return self.find_shard(recipe, name, source)
        if shard.source != source:
            return None
        self.backend.upload_missing((table, sidecar))
        return shard

    def shard_names(self, recipe: Recipe) -> set[str]:
        """Names of the shards that are there; a look that changes nothing."""
        files = self.backend.file_names(self.directory(recipe) / "shards")
        tables, sidecars = ({f.removesuffix(s) for f in files if f.endswith(s)} for s in (".parquet", ".json"))
        return tables & sidecars

    def write_shard(
        self, recipe: Recipe, name: str, table: pa.Table, problem_ids: Sequence[str], source: str | None
    ) -> Sidecar:
        """Commit `table` as the shard called `name`."""
        path = self.directory(recipe) / "shards" / f"{name}.parquet"
        with atomic_write(path) as temporary:
            parquet.write(table, temporary)
            entry = FileEntry(f"shards/{path.name}", temporary.stat().st_size, sha256_file(temporary), table.num_rows)
        shard = Sidecar(entry, tuple(problem_ids), source)
        write_json(path.with_suffix(".json"), with_digest(asdict(shard)))
        self.backend.upload((path, path.with_suffix(".json")))
        return shard

    def manifest(self, recipe: Recipe, fingerprint: str) -> Manifest | None:
        """The manifest of a finished request if every file it lists is there with the right size."""
        return self.manifest_by_name(recipe.stage, recipe.hash, fingerprint)

    def manifest_by_name(self, stage: str, recipe_hash: str, fingerprint: str) -> Manifest | None:
        """The same by names alone, as runs note them."""
        path = self._place(stage, recipe_hash, fingerprint)
        self.backend.refresh_recipe(path.parents[1])
        if not path.exists() or self.backend.size(path) is None:
            return None
        try:
            manifest = Manifest.read(path)
        except UNREADABLE as e:
            raise_system_error(e)
            log.warning("%s: damaged manifest (%s); it will be written anew", path, e)
            return None
        directory = str(path.parent.parent)
        return manifest if all(self._whole(directory, e) for e in manifest.files) else None

    def committed_at(self, manifest: Manifest) -> float:
        """When a manifest was written, as Unix time in seconds."""
        return self._place(manifest.stage, manifest.recipe, manifest.fingerprint).stat().st_mtime

    def commit(self, recipe: Recipe, manifest: Manifest) -> Manifest:
        """Write the manifest: from here on the request is finished."""
        directory = self.directory(recipe)
        self.backend.upload(sorted(p for p in (directory / manifest.fingerprint).rglob("*") if p.is_file()))
        path = self._place(recipe.stage, recipe.hash, manifest.fingerprint)
        self.backend.confirm_lock(directory)
        self.write_json(path, manifest.content() | {"digest": manifest.key})
        return manifest

    def _place(self, stage: str, recipe_hash: str, fingerprint: str) -> Path:
        return self.root / stage / recipe_hash / "manifests" / f"{fingerprint}.json"

    def _whole(self, directory: str, entry: FileEntry) -> bool:
        """Whether a file of a manifest is there with its size, and its sidecar with its checksum.

        One stat and one read a shard, by plain strings: as path objects they take three times as long, of 100,000
        seconds.
        """
        path = f"{directory}/{entry.path}"
        try:
            size: int | None = os.stat(path).st_size
        except OSError:
            size = self.backend.size(Path(path))
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
        for entry in manifest.files:
            yield self.table(manifest, entry, columns)

    def table(self, manifest: Manifest, entry: FileEntry, columns: list[str] | None = None) -> pa.Table:
        """One shard of a request as a table; as `tables`."""
        path = self.path(manifest, entry)
        try:
            return parquet.read(path, entry.sha256, columns)
        except (FileNotFoundError, ValueError) as e:
            raise self._damaged(path, e) from None

    def schema(self, manifest: Manifest, entry: FileEntry) -> pa.Schema:
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
        for entry in manifest.files:
            path = self.path(manifest, entry)
            if path.suffix != ".parquet" and sha256_file(path) != entry.sha256:
                raise self._damaged(path, ValueError("its checksum is another"))

    def _damaged(self, path: Path, why: Exception) -> Damaged:
        """What to raise of a file that is not what was written; it is set aside."""
        sidecar = [path.with_suffix(".json")] if path.suffix == ".parquet" else []
        with contextlib.suppress(*UNREADABLE):
            if sidecar and Sidecar.read(sidecar[0]).entry.sha256 == sha256_file(path):
                return Damaged(f"{path} was made anew while an older request read it")
        self.backend.set_aside([path, *sidecar], f"damaged ({why})")
        return Damaged(f"{path} was damaged ({why})")

    def path(self, manifest: Manifest, entry: FileEntry) -> Path:
        """Where a file of a request is, on this machine; one that is only at the store's URL is fetched.

        Raises:
            Damaged: it is gone there, or not what was written.
        """
        path = self._file(manifest, entry)
        if not (path.is_file() and path.stat().st_size == entry.bytes):
            try:
                self.backend.download(path, entry.sha256)
            except ValueError as e:
                raise self._damaged(path, e) from None
            except FileNotFoundError:  # or somebody makes it anew this moment: nothing is set aside there
                self.backend.drop_copies([path, path.with_suffix(".json")])
                raise Damaged(f"{path} is gone at {self}") from None
        return path

    def unlisted_file(self, recipe: Recipe, path: str) -> Path:
        """A file of a recipe's directory that no manifest lists, as `path`; it need not exist."""
        found = self.directory(recipe) / path
        if not found.exists():
            with contextlib.suppress(FileNotFoundError):
                self.backend.download(found)
        return found

    def _file(self, manifest: Manifest, entry: FileEntry) -> Path:
        return self.root / manifest.stage / manifest.recipe / entry.path

    def sidecar(self, manifest: Manifest, entry: FileEntry) -> Sidecar:
        """The sidecar of one shard of a request.

        Raises:
            Damaged: it cannot be read.
        """
        path = self._file(manifest, entry)
        try:
            return Sidecar.read(path.with_suffix(".json"))
        except UNREADABLE as e:
            raise_system_error(e)
            raise self._damaged(path, e) from None

    def recipes(self, stage: str) -> Iterator[dict[str, Any]]:
        """Contents of every recipe of a stage that has been run here."""
        self.backend.refresh_matching(f"{stage}/*/recipe.json")
        found = (read_json(path) for path in sorted((self.root / stage).glob("*/recipe.json")))
        yield from (content for content in found if isinstance(content, dict))

    def write_json(self, path: Path, content: Any) -> None:
        """Write a small file, as JSON."""
        write_json(path, content)
        self.backend.upload([path])
