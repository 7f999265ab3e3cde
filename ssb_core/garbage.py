"""What of a store no run needs: which files those are, and deleting them.

A run needs the requests that it lists and all that these were made from. Of what an unfinished run has begun
everything is kept, and so it is where a manifest that a run lists cannot be read. What is younger than some days stays
in any case: it may belong to a run whose folder was not given. Of a recipe that somebody writes to nothing is deleted.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .runs import Run
from .store import UNREADABLE, File, Manifest, Store, StoreError, lease
from .store.audit import recipes

DAY = 86400.0
LAST = ("recipe.json", "writer.lock")  # they go with the last of a recipe's other files
LATELY = 600.0  # seconds in which a lease at a URL has been renewed if its holder lives

Place = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Garbage:
    """Files of one recipe that no run needs, by their names below its folder; so many others stay."""

    stage: str
    recipe: str
    names: tuple[str, ...]
    bytes: int
    stay: int


def find(store: Store, runs: Sequence[Path], days: float) -> Iterator[Garbage]:
    """What no run in the folders `runs` needs and is older than `days`, recipe by recipe.

    Raises:
        StoreError: what a run needs cannot be read, so that nothing is known to be garbage.
    """
    listed = recipes(store)
    manifests = {place: dict(_manifests(store, place, files)) for place, files in listed.items()}
    whole, needed = _needed(store, runs, manifests)
    before = time.time() - days * DAY
    for place, files in listed.items():
        if place in whole or _at_work(store, place, files):
            continue
        kept = _files([m for key, m in manifests[place].items() if key in needed])
        gone = [n for n, f in files.items() if n not in LAST and f.written < before and not _part_of(n, kept)]
        if len(gone) + sum(n in files for n in LAST) == len(files):
            gone += [n for n in LAST if n in files and files[n].written < before]
        if gone:
            names = tuple(sorted(gone, key=_order))
            yield Garbage(*place, names, sum(files[n].bytes for n in gone), len(files) - len(gone))


def delete(store: Store, garbage: Iterable[Garbage]) -> int:
    """Delete what was found; how many files. A recipe that somebody began to write to meanwhile is left alone."""
    deleted = 0
    for found in garbage:
        folder = store.root / found.stage / found.recipe
        with lease.tried(folder / "writer.lock") as alone:
            if alone:
                store.delete([folder / name for name in found.names])
                deleted += len(found.names)
        for empty in (*sorted((p for p in folder.rglob("*") if p.is_dir()), reverse=True), folder):
            with contextlib.suppress(OSError):  # it is not empty
                empty.rmdir()
    return deleted


def _needed(
    store: Store, folders: Sequence[Path], manifests: dict[Place, dict[str, Manifest]]
) -> tuple[set[Place], set[str]]:
    """Recipes of which everything is needed, and keys of the manifests that are."""
    by_key = {key: m for found in manifests.values() for key, m in found.items()}
    by_name = {(m.stage, m.recipe, m.fingerprint): key for key, m in by_key.items()}
    whole: set[Place] = set()
    asked: list[str] = []
    for run in _runs(store, folders):
        try:
            whole |= {(b.stage, b.recipe) for b in run.begun}
            for s in run.stages:
                key = by_name.get((s.stage, s.recipe, s.fingerprint))
                asked += [key] if key else []
                whole |= set() if key else {(s.stage, s.recipe)}
        except UNREADABLE as e:
            raise StoreError(
                f"{run.directory}: what this run needs cannot be read ({e}), so nothing is known to be garbage\n"
                "  remedy: run it again, or delete its folder if it is not wanted"
            ) from None
    needed: set[str] = set()
    while asked:
        key = asked.pop()
        if key not in needed and key in by_key:
            needed.add(key)
            asked += by_key[key].sources
    return whole, needed


def _runs(store: Store, folders: Sequence[Path]) -> Iterator[Run]:
    """Every run of the folders that has begun anything."""
    for folder in folders:
        for directory in sorted(p for p in folder.iterdir() if p.is_dir()):
            if (directory / "stages.json").exists() or (directory / "begun.json").exists():
                yield Run(directory, store)


def _manifests(store: Store, place: Place, files: dict[str, File]) -> Iterator[tuple[str, Manifest]]:
    """The recipe's readable manifests by their keys."""
    for name in files:
        if name.startswith("manifests/") and name.endswith(".json"):
            path = store.root.joinpath(*place, name)
            store.pull(path)
            with contextlib.suppress(*UNREADABLE):
                manifest = Manifest.read(path)
                yield manifest.key, manifest


def _at_work(store: Store, place: Place, files: dict[str, File]) -> bool:
    """Whether somebody writes there."""
    there = (f for n, f in files.items() if n.startswith("writer.lock.") and f.bytes)  # of a store at a URL
    lately = any(time.time() - f.written < LATELY for f in there)
    return lately or lease.holder(store.root.joinpath(*place, "writer.lock")) is not None


def _files(kept: Sequence[Manifest]) -> set[str]:
    """Files of these requests; a name that ends with a slash stands for all below it."""
    found = {f"{kind}/{m.fingerprint}.json" for m in kept for kind in ("manifests", "seconds")}
    found |= {f"{m.fingerprint}/" for m in kept}
    tables = {e.path for m in kept for e in m.entries if e.path.endswith(".parquet")}
    return found | tables | {str(PurePosixPath(t).with_suffix(".json")) for t in tables}


def _part_of(name: str, kept: set[str]) -> bool:
    return name in kept or name.split("/")[0] + "/" in kept


def _order(name: str) -> tuple[int, str]:
    """Manifests first, then sidecars: what is left when this is broken off is at most unfinished."""
    return (0 if name.startswith("manifests/") else 1 if name.endswith(".json") else 2, name)
