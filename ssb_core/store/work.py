"""Requests before they are finished: work that outlives a kill, the seconds it took, and how to make one so again."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import lock
from .files import delete_temporary, read_json
from .manifest import Manifest, Recipe
from .store import Store


def work_dir(store: Store, recipe: Recipe, fingerprint: str, version: str) -> Path:
    """A directory for work that outlives a kill; those of the request's other versions are deleted."""
    path = store.directory(recipe) / f"{fingerprint}.{version}.work"
    for other in path.parent.glob(f"{fingerprint}.*.work"):
        if other != path:
            shutil.rmtree(other, ignore_errors=True)
    path.mkdir(parents=True, exist_ok=True)
    store.backend.download_folder(path)
    return path


def delete_work(store: Store, manifest: Manifest) -> None:
    """Delete what is left of the work on a finished request, also by who was killed while it noted its time."""
    directory, pattern = store.root / manifest.stage / manifest.recipe, f"{manifest.fingerprint}.*.work"
    lock.clear(directory / "writer.lock")
    for path in directory.glob(pattern):
        shutil.rmtree(path, ignore_errors=True)
    delete_temporary(directory / "seconds")
    store.backend.delete_matching(directory, pattern)


def delete_request(store: Store, manifest: Manifest) -> None:
    """Delete a request's manifest, files and work, so that it is made again."""
    delete_work(store, manifest)
    directory = store.root / manifest.stage / manifest.recipe
    notes = [directory / kind / f"{manifest.fingerprint}.json" for kind in ("manifests", "seconds")]
    files = [directory / entry.path for entry in manifest.files]
    store.backend.delete([*notes, *(p for f in files for p in (f.with_suffix(".json"), f))])


def add_seconds(store: Store, recipe: Recipe, fingerprint: str, spent: float) -> None:
    """Note time spent on a request that was begun, beside its manifest: equal work must give equal manifests."""
    if store.directory(recipe).exists():
        total = round(read_seconds(store, recipe, fingerprint) + spent, 3)
        store.write_json(_seconds(store, recipe, fingerprint), {"seconds": total})


def read_seconds(store: Store, recipe: Recipe, fingerprint: str) -> float:
    """What was noted of a request so far."""
    try:
        return float(read_json(_seconds(store, recipe, fingerprint))["seconds"])
    except (KeyError, TypeError, ValueError):
        return 0.0


def _seconds(store: Store, recipe: Recipe, fingerprint: str) -> Path:
    return store.directory(recipe) / "seconds" / f"{fingerprint}.json"
