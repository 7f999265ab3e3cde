"""What the store has of an unfinished request: whole shards, damaged files, checkpoints. Nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from ..stages import Spec, evaluate, finished, rollouts, sources, upstreams
from ..stages.directory import DirectorySpec
from ..stages.execute import parts
from ..stages.shards import shard_inputs
from ..store import UNREADABLE, Sidecar, Store, digest
from ..store.files import DAMAGED
from ..training import checkpoints

RESULT = "result"
"""The part of `Remains` of a whole directory whose upstream requests are not finished."""


@dataclass(frozen=True, slots=True)
class Remains:
    """`whole` of `total` units are there: shards, or for a training the steps up to its last checkpoint (`total` is 0).

    `damaged` counts units with damaged files, whether they are set aside already or not. `outdated` means that the
    result is there, but was made from upstream results that have changed since. `part` is the part of the stage that
    the units belong to.
    """

    whole: int = 0
    total: int = 0
    damaged: int = 0
    outdated: bool = False
    manifest_is_damaged: bool = False
    part: str = ""

    @property
    def share(self) -> float:
        """The share that is there already."""
        return self.whole / self.total if self.total else 0.0


def remains(spec: Spec, store: Store) -> Remains:
    """What is there of an unfinished request, or of the part of it that is made first."""
    if isinstance(spec, DirectorySpec):
        return _of_directory(spec, store)
    found = _of_shards(spec, store)
    for part in parts(spec):
        if not (found.whole or found.damaged or finished(part, store)):
            return _of_shards(part, store)
    return found


def _of_shards(spec: Spec, store: Store) -> Remains:
    folder = store.layout.recipe(spec.stage, spec.recipe.hash)
    files = store.backend.file_names(folder.shards)
    if not files:  # then no name is needed, and a million problems need not be hashed
        return Remains(part=spec.part)
    names = shard_names(spec, store)
    both = {n for n in names if {f"{n}.parquet", f"{n}.json"} <= files}
    whole = {n for n in both if _is_whole(store, folder.sidecar(n), folder.table(n))}
    aside = {f.split(".")[0] for f in files if f.endswith(DAMAGED)}
    damaged = (both | aside.intersection(names)) - whole
    outdated = store.manifest(spec.recipe, spec.fingerprint) is not None
    unreadable = folder.manifest(spec.fingerprint).exists() and not outdated and len(whole) == len(names)
    return Remains(len(whole), len(names), len(damaged), outdated, unreadable, spec.part)


def _is_whole(store: Store, sidecar: Path, table: Path) -> bool:
    """Whether a shard has the size that its sidecar says."""
    try:
        size = table.stat().st_size if table.is_file() else store.backend.size(table)
        return size == Sidecar.read(sidecar).file.bytes
    except UNREADABLE:
        return False


def _of_directory(spec: DirectorySpec, store: Store) -> Remains:
    folder = store.layout.recipe(spec.stage, spec.recipe.hash)
    try:
        work = folder.work(spec.fingerprint, digest(sources(spec, store)))
    except StoreError:  # its upstream requests are not finished; they may turn out as they were
        there = store.manifest(spec.recipe, spec.fingerprint) is not None
        return Remains(int(there), int(there), part=RESULT)
    sealed = [checkpoints.step(p) for p in work.glob("checkpoint-*") if (p / checkpoints.SEAL).exists()]
    outdated = store.manifest(spec.recipe, spec.fingerprint) is not None
    aside = any(p.name.endswith(DAMAGED) for p in folder.outputs(spec.fingerprint).rglob("*"))
    damaged = not outdated and (aside or folder.manifest(spec.fingerprint).exists())
    return Remains(max(sealed, default=0), damaged=int(damaged), outdated=outdated)


def shard_names(spec: Spec, store: Store) -> list[str]:
    """Names of a request's shards. A shard that is made from an upstream shard has the same name."""
    if isinstance(spec, evaluate.Spec):
        return [i.name for i in shard_inputs(spec.load_problem_set(), spec.execution.shard_size)]
    while not isinstance(spec, rollouts.Spec):
        (spec,) = upstreams(spec)
    if manifest := finished(spec, store):
        return [Path(f.path).stem for f in manifest.files]
    return [i.name for i in shard_inputs(spec.load_wave(), spec.execution.shard_size)]
