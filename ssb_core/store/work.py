"""Requests before they are finished: work that outlives a kill, the seconds it took, and how to make one so again."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import lock
from .files import read_json, sweep
from .manifest import Manifest, Recipe
from .store import Store


def work(store: Store, recipe: Recipe, fingerprint: str, version: str) -> Path:
    """A directory for work that outlives a kill; those of the request's other versions are deleted."""
    path = store.directory(recipe) / f"{fingerprint}.{version}.work"
    for other in path.parent.glob(f"{fingerprint}.*.work"):
        if other != path:
            shutil.rmtree(other, ignore_errors=True)
    path.mkdir(parents=True, exist_ok=True)
    store.there.fetch_all(path)
    return path


def drop_work(store: Store, manifest: Manifest) -> None:
    """Delete what is left of the work on a finished request, also by who was killed while it noted its time."""
    directory, pattern = store.root / manifest.stage / manifest.recipe, f"{manifest.fingerprint}.*.work"
    lock.clear(directory / "writer.lock")
    for path in directory.glob(pattern):
        shutil.rmtree(path, ignore_errors=True)
    sweep(directory / "seconds")
    store.there.delete_all(directory, pattern)


def forget(store: Store, manifest: Manifest) -> None:
    """Delete a request's manifest, files and work, so that it is made again."""
    drop_work(store, manifest)
    directory = store.root / manifest.stage / manifest.recipe
    notes = [directory / kind / f"{manifest.fingerprint}.json" for kind in ("manifests", "seconds")]
    files = [directory / entry.path for entry in manifest.files]
    store.there.delete([*notes, *(p for f in files for p in (f.with_suffix(".json"), f))])


def add_seconds(store: Store, recipe: Recipe, fingerprint: str, spent: float) -> None:
    """Note time spent on a request that was begun, beside its manifest: equal work must give equal manifests."""
    if store.directory(recipe).exists():
        total = round(seconds(store, recipe, fingerprint) + spent, 3)
        store.write_json(_seconds(store, recipe, fingerprint), {"seconds": total})


def seconds(store: Store, recipe: Recipe, fingerprint: str) -> float:
    """What was noted of a request so far."""
    try:
        return float(read_json(_seconds(store, recipe, fingerprint))["seconds"])
    except (KeyError, TypeError, ValueError):
        return 0.0


def _seconds(store: Store, recipe: Recipe, fingerprint: str) -> Path:
    return store.directory(recipe) / "seconds" / f"{fingerprint}.json"
