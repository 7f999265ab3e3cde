"""The store: stages look up results in it, write them to it and read them from it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ..errors import Damaged
from ..records import R, from_row
from . import lock, parquet
from .backend import Backend
from .files import UNREADABLE, atomic_write, delete_temporary, raise_system_error, read_json, sha256_file, write_json
from .layout import FORMAT, JSON, RECIPE, TABLE, Layout, RecipeFolder, table_name
from .local import Local
from .manifest import FileEntry, Manifest, Recipe, Sidecar, with_digest
from .memory import ManifestMemory
from .remote import Remote, remote_at

if TYPE_CHECKING:
    import pyarrow as pa

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Store:
    """The store in the folder `root`, and at a URL if it has a `remote`. Folders are made when files are written."""

    root: Path
    remote: Remote | None = None
    _memory: ManifestMemory = field(default_factory=ManifestMemory, init=False, repr=False, compare=False)

    @classmethod
    def at(cls, location: str | Path) -> Self:
        """The store at a path, or at any URL that fsspec knows.

        Raises:
            StoreError: no installed package knows the URL.
        """
        if "://" not in str(location):
            return cls(Path(location))
        remote = remote_at(str(location))
        return cls(remote.cache, remote)

    @property
    def location(self) -> str:
        """The argument with which `at` gives the same store in a process with any working directory."""
        return self.remote.url if self.remote else str(self.root.absolute())

    def __str__(self) -> str:
        return self.remote.url if self.remote else str(self.root)

    @property
    def backend(self) -> Backend:
        """The place where all machines find the files: the store's URL, or its directory."""
        return self.remote or Local(self.root)

    @property
    def layout(self) -> Layout:
        """Paths in the store, on this machine."""
        return Layout(self.root)

    def directory(self, recipe: Recipe) -> Path:
        """The recipe's folder on this machine. It need not exist."""
        return self._folder(recipe).path

    def _folder(self, recipe: Recipe) -> RecipeFolder:
        return self.layout.recipe(recipe.stage, recipe.hash)

    def _folder_of(self, manifest: Manifest) -> RecipeFolder:
        return self.layout.recipe(manifest.stage, manifest.recipe)

    def check(self, write: bool = True) -> None:
        """Refuse a store that cannot be used, before any work. With `write`, a small file is written to its URL.

        Raises:
            StoreError: another version of ssb wrote the store, or its URL cannot be written to.
        """
        if write:
            self.backend.check_writable()
        self._check_format()

    def _check_format(self) -> None:
        self.backend.refresh([self.layout.format])
        self.layout.refuse_other_format(str(self))

    @contextlib.contextmanager
    def exclusive(self, recipe: Recipe, on_wait: Callable[[str], None] = log.info) -> Iterator[None]:
        """Be the only writer of a recipe within the block.

        While another process is, on this machine or any other, wait and pass `on_wait` a message that says for whom.

        Raises:
            StoreError: another version of ssb wrote the store.
        """
        self._check_format()
        folder, label = self._folder(recipe), f"{recipe.stage}/{recipe.hash}"
        with lock.acquire(folder.lock, label, on_wait), self.backend.lock(folder.path, label, on_wait):
            yield

    @contextlib.contextmanager
    def try_exclusive(self, stage: str, recipe: str) -> Iterator[bool]:
        """Try to become the only writer of a recipe, by its stage and hash, without waiting.

        Yields True if we hold the lock.
        """
        folder = self.layout.recipe(stage, recipe)
        locks = (lock.try_acquire(folder.lock), self.backend.try_lock(folder.path))
        with contextlib.ExitStack() as stack:
            yield all(stack.enter_context(one) for one in locks)

    def holder(self, stage: str, recipe: str) -> lock.Owner | None:
        """The process that writes to a recipe now, if it is on this machine or shares the store's directory."""
        return lock.holder(self.layout.recipe(stage, recipe).lock)

    def prepare(self, recipe: Recipe) -> Path:
        """Make the recipe's folder, write the recipe into it, and delete what killed writers left; returns the folder.

        Only the recipe's one writer may call this.
        """
        folder = self._folder(recipe)
        for part in (folder.shards, folder.manifests):
            part.mkdir(parents=True, exist_ok=True)
        delete_temporary(folder.path, only_writer=True)
        delete_temporary(self.root, subfolders=False)  # of the note of the format
        self.backend.refresh_recipe(folder.path)
        for path, content in {self.layout.format: {"format": FORMAT}, folder.recipe: recipe.content}.items():
            if read_json(path) != json.loads(json.dumps(content)):
                self.write_json(path, content)
        return folder.path

    def find_shard(self, recipe: Recipe, name: str, source: str | None) -> Sidecar | None:
        """The shard called `name`, if it is whole and was made from the upstream checksum `source`.

        A damaged shard is set aside. An upload that failed before is repeated.
        """
        folder = self._folder(recipe)
        sidecar, table = folder.sidecar(name), folder.table(name)
        if not sidecar.exists():
            return None
        try:
            shard = Sidecar.read(sidecar)
            size = table.stat().st_size if table.is_file() else self.backend.size(table)
            if size != shard.file.bytes:
                raise ValueError("it is gone" if size is None else f"{size} bytes, expected {shard.file.bytes}")
        except UNREADABLE as e:
            raise_system_error(e)
            self.set_aside([sidecar, table], f"damaged shard ({e})")
            self.backend.refresh([sidecar])  # the one at the URL may be whole
            return self.find_shard(recipe, name, source)
        if shard.source != source:
            return None
        self.backend.upload_missing((table, sidecar))
        return shard

    def shard_names(self, recipe: Recipe) -> set[str]:
        """Names of the shards that have both a table and a sidecar. Nothing is checked or changed."""
        files = self.backend.file_names(self._folder(recipe).shards)
        tables, sidecars = ({f.removesuffix(s) for f in files if f.endswith(s)} for s in (TABLE, JSON))
        return tables & sidecars

    def write_shard(
        self, recipe: Recipe, name: str, table: pa.Table, problem_ids: Sequence[str], source: str | None
    ) -> Sidecar:
        """Write `table` as the shard called `name`, then its sidecar: from then on the shard is finished."""
        path, sidecar = self._folder(recipe).table(name), self._folder(recipe).sidecar(name)
        with atomic_write(path) as temporary:
            parquet.write(table, temporary)
            size, sha256 = temporary.stat().st_size, sha256_file(temporary)
        shard = Sidecar(FileEntry(table_name(name), size, sha256, table.num_rows), tuple(problem_ids), source)
        write_json(sidecar, with_digest(shard.content()))
        self._forget([path])
        self.backend.upload((path, sidecar))
        return shard

    def looking_once(self) -> contextlib.AbstractContextManager[None]:
        """Check each manifest once within the block and remember it, for callers that look up the same ones often.

        Only manifests of finished requests are remembered. If this store commits, deletes or sets aside a file of a
        recipe, it forgets the recipe's manifests. A manifest that another process of this machine writes or deletes is
        noticed, but neither what it does to the files that a manifest lists, nor what another machine does at a URL.
        """
        return self._memory.remembering()

    def look_again(self) -> None:
        """Forget what `looking_once` remembers, because another process has found a file to be damaged."""
        self._memory.clear()

    def _forget(self, paths: Sequence[Path]) -> None:
        """Forget the manifests of the recipes that these files belong to."""
        for stage, recipe in {p.relative_to(self.root).parts[:2] for p in paths}:
            self._memory.forget(self.layout.recipe(stage, recipe).path)

    def manifest(self, recipe: Recipe, fingerprint: str) -> Manifest | None:
        """The manifest of a finished request, if every file that it lists has its size and every sidecar agrees."""
        return self.manifest_by_name(recipe.stage, recipe.hash, fingerprint)

    def manifest_by_name(self, stage: str, recipe: str, fingerprint: str) -> Manifest | None:
        """As `manifest`, by the recipe's stage and hash, which runs note."""
        folder = self.layout.recipe(stage, recipe)
        path = folder.manifest(fingerprint)
        if self._memory.active and not path.exists():
            self.backend.refresh_recipe(folder.path)  # it may be at the URL
        return self._memory.recall(path) or self._memory.keep(path, lambda: self._check_manifest(folder, fingerprint))

    def _check_manifest(self, folder: RecipeFolder, fingerprint: str) -> Manifest | None:
        path = folder.manifest(fingerprint)
        self.backend.refresh_recipe(folder.path)
        if not path.exists() or self.backend.size(path) is None:
            return None
        try:
            manifest = Manifest.read(path)
        except UNREADABLE as e:
            raise_system_error(e)
            log.warning("%s: damaged manifest (%s); it will be written again", path, e)
            return None
        return manifest if all(self._is_whole(str(folder.path), f) for f in manifest.files) else None

    def committed_at(self, manifest: Manifest) -> float:
        """When a manifest was written, as Unix time in seconds."""
        return self._folder_of(manifest).manifest(manifest.fingerprint).stat().st_mtime

    def commit(self, recipe: Recipe, manifest: Manifest) -> Manifest:
        """Write the manifest: from then on the request is finished.

        Raises:
            StoreError: another process has taken over the recipe's lock.
        """
        folder = self._folder(recipe)
        self.backend.upload(sorted(p for p in folder.outputs(manifest.fingerprint).rglob("*") if p.is_file()))
        self.backend.confirm_lock(folder.path)
        path = folder.manifest(manifest.fingerprint)
        self._forget([path])
        self.write_json(path, manifest.content() | {"digest": manifest.key})
        return manifest

    def delete(self, paths: Sequence[Path]) -> None:
        """Delete files of recipes, here and at the store's URL, in the given order. Some may be gone already."""
        try:
            self.backend.delete(paths)
        finally:  # not before: another thread could check a manifest while its files are still there
            self._forget(paths)

    def set_aside(self, paths: Sequence[Path], reason: str) -> None:
        """Rename damaged files of recipes to ``*.damaged``, so that they are made again; as `Backend.set_aside`."""
        try:
            self.backend.set_aside(paths, reason)
        finally:
            self._forget(paths)

    def _is_whole(self, directory: str, file: FileEntry) -> bool:
        """Whether a file of a manifest has its size, and its sidecar names its checksum.

        That is one stat and one read for each shard. The paths are plain strings because path objects take three times
        as long, which is seconds for 100,000 shards.
        """
        path = f"{directory}/{file.path}"
        try:
            size: int | None = os.stat(path).st_size
        except OSError:
            size = self.backend.size(Path(path))
        if size != file.bytes or not path.endswith(TABLE):
            return size == file.bytes
        try:
            with open(f"{path.removesuffix(TABLE)}{JSON}", "rb", buffering=0) as sidecar:
                return file.sha256.encode() in sidecar.read()
        except OSError:
            return False

    def tables(self, manifest: Manifest, columns: list[str] | None = None) -> Iterator[pa.Table]:
        """The shards of a request as tables, in order, each checked against its checksum.

        Raises:
            Damaged: a shard is not what was written.
        """
        for file in manifest.files:
            yield self.table(manifest, file, columns)

    def table(self, manifest: Manifest, file: FileEntry, columns: list[str] | None = None) -> pa.Table:
        """One shard of a request as a table; as `tables`."""
        path = self.path(manifest, file)
        try:
            return parquet.read(path, file.sha256, columns)
        except (FileNotFoundError, ValueError) as e:
            raise self._damaged(path, e) from None

    def records(self, manifest: Manifest, file: FileEntry, record: type[R]) -> list[R]:
        """One shard of a request as records, in order, for code that works on completions rather than on columns.

        Only the columns that are fields of `record` are read; a shard of teach, for example, is read as `TeacherTrace`
        without its signal. Code that needs a few columns of many rows reads `tables` instead.

        Raises:
            Damaged: the shard is not what was written.
        """
        columns = [f.name for f in fields(record)]  # type: ignore[arg-type]
        return [from_row(record, row) for row in self.table(manifest, file, columns).to_pylist()]

    def schema(self, manifest: Manifest, file: FileEntry) -> pa.Schema:
        """Columns and metadata of one shard; as `tables`."""
        path = self.path(manifest, file)
        try:
            return parquet.schema(path, file.sha256)
        except (FileNotFoundError, ValueError) as e:
            raise self._damaged(path, e) from None

    def verify_outputs(self, manifest: Manifest) -> None:
        """Check every file of a request that is no shard, such as an adapter's weights, against its checksum.

        Raises:
            Damaged: a file is not what was written.
        """
        for file in manifest.files:
            path = self.path(manifest, file)
            if path.suffix != TABLE and sha256_file(path) != file.sha256:
                raise self._damaged(path, ValueError("its checksum differs"))

    def _damaged(self, path: Path, reason: Exception) -> Damaged:
        """Set aside a file that is not what was written, and return the error to raise."""
        sidecar = [path.with_suffix(JSON)] if path.suffix == TABLE else []
        with contextlib.suppress(*UNREADABLE):
            if sidecar and Sidecar.read(sidecar[0]).file.sha256 == sha256_file(path):
                self._forget([path])
                return Damaged(f"{path} was made again while an older request read it")
        self.set_aside([path, *sidecar], f"damaged ({reason})")
        return Damaged(f"{path} was damaged ({reason})")

    def path(self, manifest: Manifest, file: FileEntry) -> Path:
        """The path of a file of a request on this machine. A file that is only at the store's URL is downloaded.

        Raises:
            Damaged: the file at the URL is gone, or is not what was written.
        """
        path = self._folder_of(manifest).path / file.path
        if not (path.is_file() and path.stat().st_size == file.bytes):
            try:
                self.backend.download(path, file.sha256)
            except ValueError as e:
                raise self._damaged(path, e) from None
            except FileNotFoundError:  # another process may be making it again right now, so nothing is set aside
                self.backend.drop_copies([path, path.with_suffix(JSON)])
                self._forget([path])
                raise Damaged(f"{path} is gone at {self}") from None
        return path

    def unlisted_file(self, recipe: Recipe, name: str) -> Path:
        """The path on this machine of a recipe's file that no manifest lists; as `path`, but it need not exist."""
        path = self.directory(recipe) / name
        if not path.exists():
            with contextlib.suppress(FileNotFoundError):
                self.backend.download(path)
        return path

    def sidecar(self, manifest: Manifest, file: FileEntry) -> Sidecar:
        """The sidecar of one shard of a request.

        Raises:
            Damaged: it cannot be read.
        """
        path = self._folder_of(manifest).path / file.path
        try:
            return Sidecar.read(path.with_suffix(JSON))
        except UNREADABLE as e:
            raise_system_error(e)
            raise self._damaged(path, e) from None

    def recipes(self, stage: str) -> Iterator[dict[str, Any]]:
        """Contents of every recipe of a stage that was ever run in this store."""
        self.backend.refresh_matching(f"{stage}/*/{RECIPE}")
        contents = (read_json(path) for path in sorted((self.root / stage).glob(f"*/{RECIPE}")))
        yield from (content for content in contents if isinstance(content, dict))

    def write_json(self, path: Path, content: Any) -> None:
        """Write a small file as JSON, here and at the store's URL."""
        write_json(path, content)
        self.backend.upload([path])
