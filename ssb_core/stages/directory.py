"""Requests whose result is a directory, such as an adapter or a merged model, instead of shards."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from ..store import FileEntry, Manifest, Store, fsync, sha256_file, work
from ..training.log import CURVES, SPEED
from .execute import Outcome, required, sources
from .spec import Spec


class DirectorySpec(Spec):
    """A request whose result is a directory."""

    def directory(self, store: Store) -> Path:
        """The directory of the result, finished or not."""
        return store.directory(self.recipe) / self.fingerprint


class TrainedSpec(DirectorySpec):
    """A request whose result is a directory with an adapter."""

    def load_adapter(self, store: Store) -> Path:
        """The finished adapter, on this machine and checked.

        Raises:
            StoreError: it is not finished.
            Damaged: it is not what was written.
        """
        store.verify_outputs(required(self, store))
        return self.directory(store) / "adapter"


def weights(manifest: Manifest) -> FileEntry:
    """The file whose checksum identifies a student or a merged model: its first file of weights."""
    return next(e for e in manifest.files if e.path.endswith(".safetensors"))


def commit_directory(
    spec: DirectorySpec, store: Store, work_dir: Path, made_from: tuple[str, ...], stats: dict[str, Any] | None = None
) -> Manifest:
    """Make ``work_dir/result`` the result of a request, and delete the rest of the work.

    `made_from` are the keys of the upstream manifests that were read, as `sources` gives them before the work.
    """
    directory = spec.directory(store)
    if (work_dir / SPEED).exists():  # another machine may have written it
        shutil.copy(work_dir / SPEED, work_dir / "result" / SPEED)
    _publish(work_dir / "result", directory)
    files = _files(directory)
    manifest = Manifest(spec.stage, spec.recipe.hash, spec.fingerprint, files, made_from, stats or {})
    store.commit(spec.recipe, manifest)
    work.delete_work(store, manifest)
    return manifest


def commit_training(
    spec: TrainedSpec, store: Store, work_dir: Path, stats: dict[str, Any], steps_before: int
) -> Outcome:
    """Commit a trained adapter; `steps_before` of its steps were made by an earlier process."""
    manifest = commit_directory(spec, store, work_dir, sources(spec, store), stats)
    return Outcome(manifest, stats["steps"] - steps_before, steps_before)


def _publish(result: Path, directory: Path) -> None:
    """Move a finished result to where its manifest expects it, after its bytes and names are on the disk."""
    for path in (*result.rglob("*"), result):
        fsync(path)
    shutil.rmtree(directory, ignore_errors=True)
    result.rename(directory)
    fsync(directory.parent)


def _files(directory: Path) -> tuple[FileEntry, ...]:
    """The files of a finished directory, without those that differ between equal trainings."""
    return tuple(
        FileEntry(str(p.relative_to(directory.parent)), p.stat().st_size, sha256_file(p))
        for p in sorted(directory.rglob("*"))
        if p.is_file() and p.name != SPEED and p.parent.name != CURVES
    )
