"""The five stages and the baselines, and the frame that those made of shards share.

A stage is a `Spec` (frozen, JSON) and a function ``run(spec, store, progress)``. A spec holds its upstream spec, so
the whole request of any stage is one small document from which every identity follows:

* its **recipe** says how rows are made: stage, version, the configuration that changes rows, the upstream recipe;
* its **fingerprint** adds which inputs were asked for.

A sharded stage (`sharded`) maps each input to one shard. What is already there, whole and made from the same upstream
bytes, is kept; the rest is made; the manifest is written last.
"""

from __future__ import annotations

import contextlib
import importlib
import math
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from ..config.execution import Execution, StageName
from ..config.frozen import Frozen
from ..errors import refused
from ..progress import Progress
from ..store import Manifest, Recipe, Store, StoreError, digest, work

BASELINES = ("sft", "rft", "ssb-no-wrong", "grpo")
STAGES = tuple(s.value for s in StageName)


class Spec(Frozen, ABC):
    """One request of a stage. Subclasses say how rows are made (`how`) and which inputs are asked for (`inputs`)."""

    stage: ClassVar[str]
    version: ClassVar[int]
    fans_out: ClassVar[bool] = False
    """Whether its shards are worth making by several workers."""
    execution: Execution = Execution()

    @abstractmethod
    def how(self) -> dict[str, Any]:
        """What decides the rows, as it is hashed into the recipe."""

    @abstractmethod
    def inputs(self) -> list[str]:
        """Digests of what is asked for: problems, or upstream fingerprints."""

    @property
    def recipe(self) -> Recipe:
        return Recipe(self.stage, {"version": self.version, **self.how()})

    @property
    def fingerprint(self) -> str:
        return digest([self.recipe.hash, self.inputs()])

    @property
    def names(self) -> dict[str, Any]:
        """What people call the parts of the request, as a run notes it."""
        return {}

    @property
    def round(self) -> int:
        """Which round of bootstrapping it belongs to: the first has the base that was given."""
        return max((u.round for u in upstreams(self)), default=1)

    @property
    def uses_model(self) -> bool:
        """Whether a model has to be loaded, so that the request may want a process of its own."""
        return True

    @property
    def shared(self) -> bool:
        """Whether workers make its shards."""
        return self.fans_out and self.execution.workers.used

    @property
    def samples_with(self) -> str | None:
        """The weights it samples with, if it does: requests of like weights can share a loaded engine."""
        return None


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished request: its manifest, and how many shards (or training steps) were made now and before."""

    manifest: Manifest
    made: int
    reused: int


class Stage(Protocol):
    """What a stage's module offers."""

    Spec: type[Spec]

    def run(self, spec: Any, store: Store, progress: Progress) -> Outcome: ...


def module(stage: str) -> Stage:
    """The module of a stage, imported when asked for."""
    package = "ssb_core.stages.baselines" if stage in BASELINES else "ssb_core.stages"
    return importlib.import_module(f"{package}.{stage.replace('-', '_')}")  # type: ignore[return-value]


_seen: ContextVar[dict[tuple[Store, str], Manifest | None] | None] = ContextVar("seen", default=None)


@contextlib.contextmanager
def looking_once() -> Iterator[None]:
    """Within this block `finished` looks each request up once, for who looks at many and makes none."""
    token = _seen.set({})
    try:
        yield
    finally:
        _seen.reset(token)


def finished(spec: Spec, store: Store) -> Manifest | None:
    """The manifest of `spec` if it is there, whole, and made from what is upstream now."""
    seen = _seen.get()
    if seen is None:
        return _look_up(spec, store)
    wanted = store, spec.fingerprint
    if wanted not in seen:
        seen[wanted] = _look_up(spec, store)
    return seen[wanted]


def _look_up(spec: Spec, store: Store) -> Manifest | None:
    manifest = store.manifest(spec.recipe, spec.fingerprint)
    if manifest is None:
        return None
    upstream = [finished(u, store) for u in upstreams(spec)]
    current = tuple(m.key if m else "" for m in upstream)
    return manifest if manifest.sources == current else None


def execute(spec: Spec, store: Store, progress: Progress) -> Outcome:
    """Run the stage of `spec`, unless its request is finished already; wait for another process that is at it.

    Raises:
        StoreError: among others, where the disk is full or cannot be written to.
    """
    try:
        return _execute(spec, store, progress)
    except Exception as e:
        if told := refused(e, store.root):
            raise StoreError(told) from e
        raise


def _execute(spec: Spec, store: Store, progress: Progress) -> Outcome:
    if manifest := finished(spec, store):
        work.drop_work(store, manifest)
        return Outcome(manifest, 0, manifest.units)
    with store.writing(spec.recipe, progress.wait):
        if manifest := finished(spec, store):  # another process made it while this one waited
            return Outcome(manifest, 0, manifest.units)
        for merged in (part for part in lineage(spec) if part.stage == "merge" and part is not spec):
            store.verify(required(merged, store))  # the base of a later round
        started, parts = time.monotonic(), [u for u in upstreams(spec) if u.stage == spec.stage]
        told = sum(work.seconds(store, u.recipe, u.fingerprint) for u in parts)
        try:
            return module(spec.stage).run(spec, store, progress)
        finally:
            # What the parts note themselves is not counted twice.
            told = sum(work.seconds(store, u.recipe, u.fingerprint) for u in parts) - told
            with contextlib.suppress(StoreError, OSError):  # what went wrong before is worth more than this note
                work.add_seconds(store, spec.recipe, spec.fingerprint, time.monotonic() - started - told)


def lineage(spec: Spec) -> list[Spec]:
    """A request and all that it builds on, each once."""
    found = {spec.fingerprint: spec}
    for upstream in upstreams(spec):
        found |= {s.fingerprint: s for s in lineage(upstream)}
    return list(found.values())


def forget(spec: Spec, store: Store, before: float = math.inf) -> None:
    """Delete what was made for a request, and for the parts of its stage, before a Unix time in seconds.

    What is dated in the future was made before the clock went back, so before now.
    """
    for part in (spec, *(u for u in upstreams(spec) if u.stage == spec.stage)):
        manifest = store.manifest(part.recipe, part.fingerprint)
        if manifest and not before <= store.committed(manifest) <= time.time():
            work.forget(store, manifest)


def required(spec: Spec, store: Store) -> Manifest:
    """The finished manifest of an upstream request.

    Raises:
        StoreError: it is not there; the message names the stage to run.
    """
    manifest = finished(spec, store)
    if manifest is None:
        raise StoreError(f"the {spec.stage} this stage builds on are not in the store; run stage {spec.stage} first")
    return manifest


def upstreams(spec: Spec) -> tuple[Spec, ...]:
    """The requests a spec builds on, in the order of its fields."""
    found: list[Spec] = []
    for name in type(spec).model_fields:
        value = getattr(spec, name)
        found += [v for v in (value if isinstance(value, tuple) else (value,)) if isinstance(v, Spec)]
    return tuple(found)


def sources(spec: Spec, store: Store) -> tuple[str, ...]:
    """Keys of the upstream manifests, as they are noted in the manifest made from them."""
    return tuple(required(u, store).key for u in upstreams(spec))
