"""Run a request, unless the store has its result already: look it up, lock its recipe, run its stage."""

from __future__ import annotations

import contextlib
import math
import time
from dataclasses import dataclass

from ..errors import StoreError, refused
from ..store import Manifest, Store, work
from .runtime import Runtime
from .spec import Spec, lineage, stage_module, upstreams


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished request: its manifest, and how many shards (or training steps) were made now and before."""

    manifest: Manifest
    made: int
    reused: int


def finished(spec: Spec, store: Store) -> Manifest | None:
    """The manifest of `spec`, if its files are there and it was made from the current upstream results; else None."""
    manifest = store.manifest(spec.recipe, spec.fingerprint)
    if manifest is None:
        return None
    upstream = (finished(u, store) for u in upstreams(spec))
    return manifest if manifest.sources == tuple(m.key if m else "" for m in upstream) else None


def required(spec: Spec, store: Store) -> Manifest:
    """The finished manifest of an upstream request.

    Raises:
        StoreError: it is not there; the message names the stage to run.
    """
    manifest = finished(spec, store)
    if manifest is None:
        raise StoreError(f"the {spec.stage} this stage builds on are not in the store; run stage {spec.stage} first")
    return manifest


def sources(spec: Spec, store: Store) -> tuple[str, ...]:
    """Keys of the upstream manifests, for the manifest that is made from them."""
    return tuple(required(u, store).key for u in upstreams(spec))


def execute(spec: Spec, store: Store, runtime: Runtime) -> Outcome:
    """Run the stage of `spec`, unless its request is finished; wait while another process works on its recipe.

    Raises:
        StoreError: among others, if the disk is full or cannot be written to.
    """
    try:
        return _execute(spec, store, runtime)
    except Exception as e:
        if message := refused(e, store.root):
            raise StoreError(message) from e
        raise


def _execute(spec: Spec, store: Store, runtime: Runtime) -> Outcome:
    if manifest := finished(spec, store):
        work.delete_work(store, manifest)
        return Outcome(manifest, 0, manifest.units)
    with store.exclusive(spec.recipe, runtime.progress.wait):
        if manifest := finished(spec, store):  # another process made it while this one waited
            return Outcome(manifest, 0, manifest.units)
        for merged in (u for u in lineage(spec) if u.stage == "merge" and u is not spec):
            store.verify_outputs(required(merged, store))  # the base of a later round
        started, before = time.monotonic(), _seconds_of_parts(spec, store)
        try:
            outcome: Outcome = stage_module(spec.stage).run(spec, store, runtime)
            return outcome
        finally:
            # The parts of a stage note their own time, which must not count twice.
            spent = time.monotonic() - started - (_seconds_of_parts(spec, store) - before)
            with contextlib.suppress(StoreError, OSError):  # an error before this one matters more
                work.add_seconds(store, spec.recipe, spec.fingerprint, spent)


def parts(spec: Spec) -> list[Spec]:
    """The upstream requests of the same stage, which the stage makes itself."""
    return [u for u in upstreams(spec) if u.stage == spec.stage]


def _seconds_of_parts(spec: Spec, store: Store) -> float:
    return sum(work.read_seconds(store, u.recipe, u.fingerprint) for u in parts(spec))


def delete(spec: Spec, store: Store, before: float = math.inf) -> None:
    """Delete what was made for a request and for its parts before a Unix time in seconds.

    A date in the future means that the clock went back since, so it counts as before.
    """
    for part in (spec, *parts(spec)):
        manifest = store.manifest(part.recipe, part.fingerprint)
        if manifest and not before <= store.committed_at(manifest) <= time.time():
            work.delete_request(store, manifest)
