"""The pipeline as a whole: waves, caching, determinism, and other readers of the shards."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ssb_core import stages
from ssb_core.config import RunConfig, presets
from ssb_core.errors import StoreError
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import Runtime, distill
from ssb_core.stages.execute import execute
from ssb_core.store import Store
from tests.support.runs import run_stages
from tests.support.settings import SMALL


def shards(store: Store) -> dict[str, bytes]:
    return {str(p.relative_to(store.root)): p.read_bytes() for p in store.root.rglob("*.parquet")}


def copy(run: Run, target: Path) -> Store:
    shutil.copytree(run.store.root, target)
    return Store(target)


def test_a_finished_run_is_all_cached(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    again = run_stages(small, quick_run.store, tmp_path / "again")
    assert {s["status"] for s in again.load_summary()["stages"].values()} == {"cached"}
    for key in ("fingerprints", "yield", "signal", "benchmarks", "training", "making"):
        assert again.load_summary()[key] == quick_run.load_summary()[key]


def test_only_a_lost_shard_is_made_again(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    store = copy(quick_run, tmp_path / "store")
    before = shards(store)
    lost = next(p for p in sorted(before) if p.startswith("teach/"))
    (store.root / lost).unlink()
    ages = {p: (store.root / p).stat().st_mtime_ns for p in before if p != lost}
    again = run_stages(small, store, tmp_path / "again")
    assert shards(store) == before
    assert {p: (store.root / p).stat().st_mtime_ns for p in ages} == ages
    assert again.load_summary()["stages"]["rollouts"]["status"] == "cached"
    assert again.load_summary()["stages"]["distill"]["status"] == "cached"


def test_more_problems_keep_every_finished_shard(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    store = copy(quick_run, tmp_path / "store")
    more = presets.load_config("quickstart", overrides=[*SMALL, "problems.limit=96", "target_traces=48"])
    again = run_stages(more, store, tmp_path / "more", stop="teach")
    rollouts = again.load_summary()["stages"]["rollouts"]
    assert rollouts["shards_reused"] == quick_run.load_summary()["stages"]["rollouts"]["shards"]
    assert set(shards(quick_run.store)) <= set(shards(store))


def test_the_size_of_a_wave_follows_from_the_yield_until_enough_is_taught(small: RunConfig, tmp_path: Path) -> None:
    pipeline = Pipeline.of(small.model_copy(update={"target_traces": 12}), tmp_path)
    first = pipeline.next_wave([], 0)
    assert first and (first.rollouts.start, first.rollouts.stop) == (0, 32)
    second = pipeline.next_wave([first], 8)  # 4 missing at 1 of 4, a tenth more: 17.6 problems, in steps of 32
    assert second and (second.rollouts.start, second.rollouts.stop) == (32, 64)
    assert pipeline.next_wave([first], 12) is None
    assert pipeline.next_wave([first, second], 10) is None  # problems ran out
    wide = Pipeline.of(presets.load_config("quickstart", overrides=["target_traces=100"]), tmp_path)
    begun = wide.next_wave([], 0)
    assert begun and begun.rollouts.stop == 128
    poor, better = wide.next_wave([begun], 0), wide.next_wave([begun], 64)
    assert poor and poor.rollouts.stop == 128 + 256
    assert better and better.rollouts.stop == 128 + 96  # 36 missing at 1 of 2, a tenth more: 79.2


def test_only_the_first_target_traces_are_distilled(quick_run: Run) -> None:
    assert quick_run.load_summary()["yield"]["taught"] >= 24
    (manifest,) = quick_run.manifests("distill")
    assert manifest.stats["traces"] == 24


def test_a_run_may_stop_early(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    part = run_stages(small, quick_run.store, tmp_path / "part", stop="select")
    assert list(part.load_summary()["stages"]) == ["rollouts", "select"]
    assert part.load_summary()["benchmarks"] == part.load_summary()["training"] == part.load_summary()["signal"] == {}


def test_execution_settings_change_no_fingerprint(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    changed = {"batch_size": 5, "shard_size": 24, "capture_tokens": 999}
    other = small.model_copy(update={"execution": small.execution.model_copy(update=changed)})
    again = run_stages(other, quick_run.store, tmp_path / "again")
    assert {s["status"] for s in again.load_summary()["stages"].values()} == {"cached"}


def test_samples_of_another_adapter_are_never_reused(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    store = copy(quick_run, tmp_path / "store")
    specs = [step.spec for step in Pipeline.of(small, store.root).walk(store)]
    student = next(spec for spec in specs if isinstance(spec, distill.Spec))
    evaluation = specs[-1]
    stages.delete(student, store)
    split = student.model_copy(update={"distill": student.distill.model_copy(update={"accumulation": 2})})
    assert execute(split, store, Runtime()).manifest.fingerprint == student.fingerprint
    outcome = execute(evaluation, store, Runtime())
    assert (outcome.made, outcome.reused) == (3, 0)


def test_the_student_does_not_answer_as_the_base_does(quick_run: Run) -> None:
    base, student = (next(quick_run.store.tables(m, ["text"])) for m in quick_run.manifests("evaluate"))
    assert base["text"].to_pylist() != student["text"].to_pylist()


def test_no_two_stages_share_random_streams(quick_run: Run) -> None:
    seeds = [
        seed
        for stage in ("rollouts", "teach")
        for manifest in quick_run.manifests(stage)
        for table in quick_run.store.tables(manifest, ["seed"])
        for seed in table["seed"].to_pylist()
    ]
    assert len(seeds) == len(set(seeds))


def test_shards_are_readable_by_datasets_and_duckdb(quick_run: Run, tmp_path: Path) -> None:
    import datasets
    import duckdb

    files = [str(quick_run.store.path(m, e)) for m in quick_run.manifests("teach") for e in m.files]
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path))
    taught = [len(s["hidden"]) for s, reason in zip(loaded["signal"], loaded["dropped"], strict=True) if reason is None]
    assert sum(taught) == quick_run.load_summary()["signal"]["tokens"]
    counted = duckdb.sql(f"select count(*) from read_parquet({files}) where dropped is null")
    assert counted
    ((rows,),) = counted.fetchall()
    assert rows == quick_run.load_summary()["yield"]["taught"]


def test_a_stage_runs_in_a_fresh_process(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    shutil.copytree(quick_run.store.root, tmp_path / "store", ignore=shutil.ignore_patterns("select"))
    store = Store(tmp_path / "store")
    wave = Pipeline.of(small, store.root).next_wave([], 0)
    assert wave
    job = {"store": str(store), **wave.select.dump()}
    (tmp_path / "job.json").write_text(json.dumps(job))
    command = [sys.executable, "-m", "ssb_core.stages", str(tmp_path / "job.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    path = Path(done.stdout.splitlines()[-1])
    assert path.read_bytes() == (quick_run.store.root / path.relative_to(store.root)).read_bytes()
    assert execute(wave.select, store, Runtime()).made == 0


def test_a_missing_upstream_request_is_named(small: RunConfig, tmp_path: Path) -> None:
    pipeline = Pipeline.of(small, tmp_path)
    wave = pipeline.next_wave([], 0)
    assert wave
    with pytest.raises(StoreError, match="run stage rollouts first"):
        execute(wave.select, Store(tmp_path), Runtime())
