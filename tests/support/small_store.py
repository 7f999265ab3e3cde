"""A request of two rows, committed by hand."""

from __future__ import annotations

import pyarrow as pa

from ssb_core.store import Manifest, Recipe, Store

RECIPE = Recipe("rollouts", {"version": 1, "k": 4})


def write_shard(store: Store, name: str = "a", values: tuple[int, ...] = (1, 2)) -> Manifest:
    """A shard of two problems, made from the upstream checksum ``up``, and the manifest that would list it."""
    shard = store.write_shard(RECIPE, name, pa.table({"x": list(values)}), ["p1", "p2"], "up")
    return Manifest("rollouts", RECIPE.hash, f"print-{name}", (shard.file,))


def commit(store: Store, name: str = "a", values: tuple[int, ...] = (1, 2)) -> Manifest:
    """The same, finished: its fingerprint is ``print-`` and the shard's name."""
    store.prepare(RECIPE)
    return store.commit(RECIPE, write_shard(store, name, values))
