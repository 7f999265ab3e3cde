"""The files of a store that no run needs: finding and deleting them.

A run needs the requests that it lists, and everything that these were made from. All files of a recipe are kept if a
try that is not finished has begun it, if one of its manifests cannot be read, or while a process writes to it. Requests
younger than some days are kept too, with everything that they were made from: they may belong to a run whose folder was
not given.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError, StoreError
from ..store import UNREADABLE, ListedFile, Manifest, Store, layout, raise_system_error
from ..store.audit import files_by_recipe
from . import Run

DAY = 86400.0
LAST = (layout.RECIPE, layout.LOCK)  # deleted only together with the last other file of a recipe
LATELY = 600.0  # seconds within which a living holder renews its lock at a URL

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Garbage:
    """Files of one recipe that no run needs, by their names below its folder. `stay` counts the files that stay."""

    stage: str
    recipe: str
    names: tuple[str, ...]
    bytes: int
    stay: int


def find(store: Store, runs: Sequence[Path], days: float) -> Iterator[Garbage]:
    """Files that no run in the folders `runs` needs and that are older than `days`, recipe by recipe.

    Raises:
        StoreError: the list of a run cannot be read, so nothing is known to be garbage.
    """
    listed, before = files_by_recipe(store), time.time() - days * DAY
    whole: set[Place] = set()
    manifests = {place: _manifests(store, place, files, whole) for place, files in listed.items()}
    needed = _needed(store, runs, manifests, whole)
    young = (key for p, by_key in manifests.items() for key, m in by_key.items() if _written(m, listed[p]) >= before)
    needed |= _sources(manifests, young)
    for place, files in listed.items():
        if place in whole or _at_work(store, place, files):
            continue
        kept = _files([m for key, m in manifests[place].items() if key in needed])
        gone = [n for n, f in files.items() if n not in LAST and f.modified < before and not _part_of(n, kept)]
        if len(gone) + sum(n in files for n in LAST) == len(files):
            gone += [n for n in LAST if n in files and files[n].modified < before]
        if gone:
            names = tuple(sorted(gone, key=_order))
            yield Garbage(*place, names, sum(files[n].bytes for n in gone), len(files) - len(gone))


def delete(store: Store, garbage: Iterable[Garbage]) -> int:
    """Delete garbage; returns the number of files. Files that a new request needs since stay, and so do all files of a
    recipe to which a process writes now."""
    deleted = 0
    for item in garbage:
        folder = store.root / item.stage / item.recipe
        with store.try_exclusive(item.stage, item.recipe) as held:
            names = _still(store, item) if held else []
            store.delete([folder / name for name in names])
            deleted += len(names)
        for empty in (*sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True), folder):
            with contextlib.suppress(OSError):  # it is not empty
                empty.rmdir()
    return deleted


def _still(store: Store, garbage: Garbage) -> list[str]:
    """The names that are still garbage: no manifest that was written in the meantime needs them."""
    place = (garbage.stage, garbage.recipe)
    files = files_by_recipe(store, place).get(place, {})
    unreadable: set[Place] = set()
    now = _manifests(store, place, files, unreadable)
    new = [m for m in now.values() if layout.manifest_name(m.fingerprint) not in garbage.names]
    kept = _files(new)
    return [] if unreadable else [n for n in garbage.names if n in files and not _part_of(n, kept)]


def _needed(
    store: Store, folders: Sequence[Path], manifests: dict[Place, dict[str, Manifest]], whole: set[Place]
) -> set[str]:
    """Keys of the manifests that runs need. Recipes whose files are all needed are added to `whole`."""
    by_name = {(m.stage, m.recipe, m.fingerprint): key for by_key in manifests.values() for key, m in by_key.items()}
    keys: list[str] = []
    for run in _runs(store, folders):
        try:
            whole |= {(b.stage, b.recipe) for b in run.draft.load_begun()}
            for s in (*(run.load_stages() if run.path("stages.json").exists() else ()), *run.draft.load_stages()):
                key = by_name.get((s.stage, s.recipe, s.fingerprint))
                keys += [key] if key else []
                whole |= set() if key else {(s.stage, s.recipe)}
        except (ConfigError, *UNREADABLE) as e:
            raise StoreError(
                f"{run.directory}: the files this run needs are unknown ({e}), so nothing is known to be garbage\n"
                "  remedy: run it again, or delete its folder if you do not need it"
            ) from None
    return _sources(manifests, keys)


def _sources(manifests: dict[Place, dict[str, Manifest]], keys: Iterable[str]) -> set[str]:
    """These keys, and those of everything that their manifests were made from."""
    by_key = {key: m for recipe in manifests.values() for key, m in recipe.items()}
    needed: set[str] = set()
    waiting = list(keys)
    while waiting:
        key = waiting.pop()
        if key not in needed and key in by_key:
            needed.add(key)
            waiting += by_key[key].sources
    return needed


def _written(manifest: Manifest, files: dict[str, ListedFile]) -> float:
    return files[layout.manifest_name(manifest.fingerprint)].modified


def _runs(store: Store, folders: Sequence[Path]) -> Iterator[Run]:
    """Every folder that may be a run's."""
    for folder in folders:
        yield from (Run(directory, store) for directory in sorted(folder.iterdir()) if directory.is_dir())


def _manifests(store: Store, place: Place, files: dict[str, ListedFile], unreadable: set[Place]) -> dict[str, Manifest]:
    """The recipe's manifests by their keys. If one is damaged, the recipe is added to `unreadable`."""
    manifests = {}
    for name in files:
        if layout.is_manifest(name):
            path = store.root.joinpath(*place, name)
            store.backend.refresh([path])
            try:
                manifest = Manifest.read(path)
            except UNREADABLE as e:
                raise_system_error(e)
                unreadable.add(place)
            else:
                manifests[manifest.key] = manifest
    return manifests


def _at_work(store: Store, place: Place, files: dict[str, ListedFile]) -> bool:
    """Whether a process writes there."""
    locks = (f for n, f in files.items() if layout.is_remote_lock(n) and f.bytes)  # of a store at a URL
    lately = any(time.time() - f.modified < LATELY for f in locks)
    return lately or store.holder(*place) is not None


def _files(kept: Sequence[Manifest]) -> set[str]:
    """Files of these requests. A name that ends with a slash means everything below it."""
    small = {name(m.fingerprint) for m in kept for name in (layout.manifest_name, layout.seconds_name)}
    folders = {f"{m.fingerprint}/" for m in kept}
    tables = {f.path for m in kept for f in m.files if layout.is_table(f.path)}
    return small | folders | tables | {layout.sidecar_name(t) for t in tables}


def _part_of(name: str, kept: set[str]) -> bool:
    return name in kept or name.split("/")[0] + "/" in kept


def _order(name: str) -> tuple[int, str]:
    """Manifests first, then sidecars, so that an interrupted deletion leaves requests unfinished, not damaged."""
    return (0 if layout.is_manifest(name) else 1 if name.endswith(".json") else 2, name)
