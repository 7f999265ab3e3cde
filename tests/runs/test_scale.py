"""What keeps large runs cheap: requests are looked up once in a plan, and no shard is read before it is needed."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core.problems.problem_set import ProblemSet
from ssb_core.progress import Progress
from ssb_core.records import Problem
from ssb_core.stages import finished, rollouts
from ssb_core.stages.shards import downstream_inputs, shard_inputs
from ssb_core.store import Manifest, Recipe, Store
from tests.bench import scale
from tests.support.problem_files import write_problems

RECIPE = Recipe("rollouts", {})


def sampled(store: Store, problems: ProblemSet, *sizes: int) -> Manifest:
    """A request whose shards hold so many problems each."""
    shards, start = [], 0
    for size in sizes:
        (item,) = shard_inputs(problems[start : start + size], size)
        ids = [p.id for p in item.problems]
        shards.append(store.write_shard(RECIPE, item.name, scale.rows(item), ids, None).file)
        start += size
    return store.commit(RECIPE, Manifest("rollouts", RECIPE.hash, "f", tuple(shards)))


def test_a_stage_goes_by_the_shards_before_it_whatever_their_sizes(tmp_path: Path) -> None:
    problems = ProblemSet.of(Problem(f"p{i}", f"{i}?", str(i)) for i in range(6))
    store = Store(tmp_path)
    upstream = sampled(store, problems, 1, 3, 2)
    found = downstream_inputs(upstream, store, problems)
    assert [[p.id for p in i.problems] for i in found] == [["p0"], ["p1", "p2", "p3"], ["p4", "p5"]]
    assert [i.upstream for i in found] == list(upstream.files)
    assert [i.name for i in found] == [Path(e.path).stem for e in upstream.files]
    with pytest.raises(AssertionError, match="other problems"):
        downstream_inputs(upstream, store, problems[:5])


def test_only_whole_pairs_of_files_count_as_shards(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.shard_names(RECIPE) == set()
    whole, damaged, bare = sampled(store, ProblemSet.of(Problem(f"p{i}", "?", "1") for i in range(3)), 1, 1, 1).files
    shards = store.directory(RECIPE) / "shards"
    for path in shards.glob(f"{Path(damaged.path).stem}.*"):
        path.rename(path.with_name(f"{path.name}.damaged"))
    (shards / Path(bare.path).name).with_suffix(".json").unlink()
    assert store.shard_names(RECIPE) == {Path(whole.path).stem}


def test_who_looks_once_sees_every_request_as_it_was_first(tmp_path: Path) -> None:
    source, store = write_problems(tmp_path / "problems.jsonl", 2), Store(tmp_path / "store")
    wave = scale.pipeline(source, 2, "execution.shard_size=1").wave(0, 2)
    spec = wave.rollouts
    work = rollouts.work(spec, store, Progress())
    scale.write(store, spec, work.inputs)
    shards = [store.find_shard(spec.recipe, i.name, None) for i in work.inputs]
    manifest = Manifest(spec.stage, spec.recipe.hash, spec.fingerprint, tuple(s.file for s in shards if s))
    store.commit(spec.recipe, manifest)
    with store.looking_once():
        assert finished(spec, store) == manifest and finished(wave.select, store) is None
        (store.directory(spec.recipe) / manifest.files[0].path).unlink()
        assert finished(spec, store) == manifest
    assert finished(spec, store) is None


def test_the_synthetic_stores_of_the_benchmark_are_stores(tmp_path: Path) -> None:
    found = scale.store(tmp_path, 12)
    assert found["shards"] == 12 and {"commit", "check", "plan", "next stage", "resume", "remake one"} == set(
        found["wall"]
    )
