"""Large runs are cheap: a plan looks requests up once, and no shard is read before it is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core.problems.problem_set import ProblemSet
from ssb_core.records import Problem
from ssb_core.stages import Runtime, finished, rollouts
from ssb_core.stages.shards import downstream_inputs, shard_inputs
from ssb_core.store import Manifest, Recipe, Store
from tests.bench import scale
from tests.support.problem_files import write_problems

RECIPE = Recipe("rollouts", {})


def commit(store: Store, problems: ProblemSet, *sizes: int) -> Manifest:
    """A request whose shards have `sizes` problems."""
    shards, start = [], 0
    for size in sizes:
        (item,) = shard_inputs(problems[start : start + size], size)
        ids = [p.id for p in item.problems]
        shards.append(store.write_shard(RECIPE, item.name, scale.rows(item), ids, None).file)
        start += size
    return store.commit(RECIPE, Manifest("rollouts", RECIPE.hash, "f", tuple(shards)))


def test_a_stage_has_an_input_for_each_upstream_shard_of_any_size(tmp_path: Path) -> None:
    problems = ProblemSet.of(Problem(f"p{i}", f"{i}?", str(i)) for i in range(6))
    store = Store(tmp_path)
    upstream = commit(store, problems, 1, 3, 2)
    inputs = downstream_inputs(upstream, store, problems)
    assert [[p.id for p in i.problems] for i in inputs] == [["p0"], ["p1", "p2", "p3"], ["p4", "p5"]]
    assert [i.upstream for i in inputs] == list(upstream.files)
    assert [i.name for i in inputs] == [Path(e.path).stem for e in upstream.files]
    with pytest.raises(AssertionError, match="other problems"):
        downstream_inputs(upstream, store, problems[:5])


def test_a_table_and_its_sidecar_are_a_shard_and_neither_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.shard_names(RECIPE) == set()
    whole, damaged, bare = commit(store, ProblemSet.of(Problem(f"p{i}", "?", "1") for i in range(3)), 1, 1, 1).files
    shards = store.directory(RECIPE) / "shards"
    for path in shards.glob(f"{Path(damaged.path).stem}.*"):
        path.rename(path.with_name(f"{path.name}.damaged"))
    (shards / Path(bare.path).name).with_suffix(".json").unlink()
    assert store.shard_names(RECIPE) == {Path(whole.path).stem}


def test_within_looking_once_a_request_stays_as_it_was_first_seen(tmp_path: Path) -> None:
    source, store = write_problems(tmp_path / "problems.jsonl", 2), Store(tmp_path / "store")
    wave = scale.pipeline(source, 2, "execution.shard_size=1").wave(0, 2)
    spec = wave.rollouts
    inputs = rollouts.plan_shards(spec, store, Runtime()).inputs
    scale.write(store, spec, inputs)
    shards = [store.find_shard(spec.recipe, i.name, None) for i in inputs]
    manifest = Manifest(spec.stage, spec.recipe.hash, spec.fingerprint, tuple(s.file for s in shards if s))
    store.commit(spec.recipe, manifest)
    with store.looking_once():
        assert finished(spec, store) == manifest and finished(wave.select, store) is None
        (store.directory(spec.recipe) / manifest.files[0].path).unlink()
        assert finished(spec, store) == manifest
    assert finished(spec, store) is None


def test_the_synthetic_stores_of_the_benchmark_are_stores(tmp_path: Path) -> None:
    measured = scale.store(tmp_path, 12)
    assert measured["shards"] == 12 and {"commit", "check", "plan", "next stage", "resume", "remake one"} == set(
        measured["wall"]
    )
