"""Unfinished requests: their work folders, the seconds they took, and deleting a request so that it is made again."""

from __future__ import annotations

import shutil
from pathlib import Path

from . import lock
from .files import delete_temporary, read_json
from .layout import is_table, sidecar_name, work_pattern
from .manifest import Manifest, Recipe
from .store import Store


def work_dir(store: Store, recipe: Recipe, fingerprint: str, version: str) -> Path:
    """The folder for work on a request that outlives a kill; those of the request's other versions are deleted."""
    folder = store.layout.recipe(recipe.stage, recipe.hash)
    path = folder.work(fingerprint, version)
    for other in folder.all_work(fingerprint):
        if other != path:
            shutil.rmtree(other, ignore_errors=True)
    path.mkdir(parents=True, exist_ok=True)
    store.backend.download_folder(path)
    return path


def delete_work(store: Store, manifest: Manifest) -> None:
    """Delete what is left of the work on a finished request, even by a process that was killed at the very end."""
    folder = store.layout.recipe(manifest.stage, manifest.recipe)
    lock.clear_stale(folder.lock)
    for path in folder.all_work(manifest.fingerprint):
        shutil.rmtree(path, ignore_errors=True)
    delete_temporary(folder.seconds)
    store.backend.delete_matching(folder.path, work_pattern(manifest.fingerprint))


def delete_request(store: Store, manifest: Manifest) -> None:
    """Delete a request's manifest, files and work, so that it is made again."""
    delete_work(store, manifest)
    folder = store.layout.recipe(manifest.stage, manifest.recipe)
    notes = [folder.manifest(manifest.fingerprint), folder.seconds_note(manifest.fingerprint)]
    names = (n for f in manifest.files for n in ((sidecar_name(f.path), f.path) if is_table(f.path) else (f.path,)))
    store.delete([*notes, *(folder.path / name for name in names)])


def add_seconds(store: Store, recipe: Recipe, fingerprint: str, spent: float) -> None:
    """Add to the time that a request took. It is noted beside the manifest, so that equal work gives equal manifests.

    Nothing is noted for a request that was never begun.
    """
    folder = store.layout.recipe(recipe.stage, recipe.hash)
    if folder.path.exists():
        total = round(read_seconds(store, recipe, fingerprint) + spent, 3)
        store.write_json(folder.seconds_note(fingerprint), {"seconds": total})


def read_seconds(store: Store, recipe: Recipe, fingerprint: str) -> float:
    """The seconds that a request took so far; 0 if nothing readable was noted."""
    try:
        return float(read_json(store.layout.recipe(recipe.stage, recipe.hash).seconds_note(fingerprint))["seconds"])
    except (KeyError, TypeError, ValueError):
        return 0.0
