"""What a run of many shards and many problems costs besides the sampling: seconds a shard and memory must not grow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.measure import Figures, measured

pytestmark = [pytest.mark.bench, pytest.mark.timeout(600)]
SHARDS = (10, 1_000, 100_000)
PROBLEMS = (10_000, 100_000, 1_000_000)
GROWTH = 2.0
"""How much more processor time a shard may take in a store of 100,000 than in one of 1,000."""
MEMORY = 200
"""Bytes a further problem that the driver may take; while sets were tuples of records it took 1,048."""
STEPS = ("commit", "check", "plan", "next stage", "resume", "remake one")


def test_a_shard_costs_the_same_in_a_store_of_any_size(figures: Figures) -> None:
    results = [measured("tests.bench.scale", "store", n) for n in SHARDS]
    figures("Wall seconds by shards in the store", [_row(f, f["wall"]) for f in results])
    figures("Milliseconds to commit one shard", [{"shards": f["shards"], "ms": 1000 * f["write"]} for f in results])
    figures("Microseconds of processor time a shard", [_row(f, _each(f)) for f in results])
    few, many = (_each(f) for f in results[1:])
    grown = {step: many[step] / few[step] for step in STEPS}
    figures("A shard of 100,000 against one of 1,000", [grown])
    assert max(grown.values()) < GROWTH


def test_the_memory_of_the_driver_hardly_grows_with_problems(figures: Figures) -> None:
    results = [measured("tests.bench.scale", "memory", n) for n in PROBLEMS]
    least, *_, most = results
    each = 1e6 * (most["peak MB"] - least["peak MB"]) / (most["problems"] - least["problems"])
    figures("Seconds until the first of all problems could be sampled, and memory", results)
    figures("Memory", [{"bytes a further problem": each}])
    assert each < MEMORY


def _row(results: dict[str, Any], values: dict[str, float]) -> dict[str, Any]:
    return {"shards": results["shards"], **values, "peak MB": results["peak"] / 1e6}


def _each(results: dict[str, Any]) -> dict[str, float]:
    """Microseconds of processor time by step, for one shard."""
    return {step: 1e6 * results["cpu"][step] / results["shards"] for step in STEPS}
