"""The plan of a run: what is there, what is damaged, what was never run, and the work that is left."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ssb_core.config import RunConfig, presets
from ssb_core.models import Shape
from ssb_core.runs import Run
from ssb_core.runs.amounts import UNKNOWN, Amount, about, at_most
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import PlanRow, plan
from ssb_core.stages import Spec, distill, sources
from ssb_core.store import Store, digest, work
from tests.support.made_store import TOKENS, make_all
from tests.support.settings import SMALL

SHAPE = Shape(parameters=1000, hidden_size=10, vocabulary=100, lora_width=50)


def planned(settings: RunConfig, store: Store) -> dict[str, PlanRow]:
    rows = plan(Pipeline.of(settings, store.root), store, load_shape=lambda: SHAPE)
    return {row.label: row for row in rows}


def reason(settings: RunConfig, store: Store, label: str) -> tuple[str, str]:
    row = planned(settings, store)[label]
    return row.status, row.why


@pytest.fixture
def one(small: RunConfig) -> RunConfig:
    """A configuration for which one wave teaches enough in `made`."""
    return small.model_copy(update={"target_traces": 16})


@pytest.fixture
def made(one: RunConfig, tmp_path: Path) -> Store:
    """A store in which every request of `one` is finished, each in 10 seconds."""
    store = Store(tmp_path / "made")
    make_all(Pipeline.of(one, store.root), store, seconds=10)
    return store


def specs(settings: RunConfig, store: Store) -> dict[str, Spec]:
    return {step.label: step.spec for step in Pipeline.of(settings, store.root).walk(store)}


def test_a_finished_run_is_cached_and_takes_nothing(small: RunConfig, quick_run: Run) -> None:
    rows = planned(small, quick_run.store).values()
    assert {row.status for row in rows} == {"cached"}
    assert sum(row.amounts.seconds.value + row.amounts.bytes.value for row in rows) == 0


def test_the_real_stores_figures_give_estimates(quick_run: Run) -> None:
    warmer = presets.load_config("quickstart", overrides=[*SMALL, "rollouts.temperature=1.0", "problems.limit=32"])
    rows = planned(warmer, quick_run.store)
    (rolled,) = quick_run.manifests("rollouts")
    assert (rows["rollouts wave 1"].status, rows["rollouts wave 1"].why) == (
        "stale",
        "rollouts.temperature: 0.8 -> 1.0",
    )
    for row in rows.values():
        assert row.status == "cached" or (row.amounts.seconds.value > 0 and not row.amounts.assumed)
    first = rows["rollouts wave 1"].amounts
    assert first.samples == Amount(32 * 4)
    assert first.tokens.value == pytest.approx(128 * rolled.stats["tokens"] / rolled.stats["samples"])
    assert first.bytes.value == pytest.approx(128 * sum(f.bytes for f in rolled.files) / rolled.rows)


def test_nothing_is_written_to_a_store_that_is_not_there(small: RunConfig, tmp_path: Path) -> None:
    rows = planned(small, Store(tmp_path / "none"))
    assert (rows["rollouts wave 1"].status, rows["rollouts wave 1"].why) == ("missing", "never run")
    assert rows["evaluate ssb on nano-test"].why == "because rollouts wave 1 is missing"
    assert not (tmp_path / "none").exists()


def test_without_earlier_results_caps_and_assumed_rates_are_bounds(small: RunConfig, tmp_path: Path) -> None:
    rows = planned(small, Store(tmp_path / "none"))
    first, later, student = rows["rollouts wave 1"], rows["later waves"], rows["distill"]
    assert first.amounts.tokens == at_most(128 * small.rollouts.max_new_tokens) and first.amounts.assumed
    assert first.amounts.seconds == at_most(128 * small.rollouts.max_new_tokens / 1000)
    assert (later.status, later.why) == ("waits", "at most 32 more problems, until 24 traces are taught")
    assert student.amounts.bytes.certainty == "about" and student.amounts.seconds.certainty == "at most"
    unknown = {r.label: r for r in plan(Pipeline.of(small, tmp_path / "none"), Store(tmp_path / "none"))}
    assert unknown["distill"].amounts.bytes == UNKNOWN


def test_later_waves_follow_the_yield_so_far(made: Store) -> None:
    more = presets.load_config(
        "quickstart", overrides=[*SMALL, "problems.limit=256", "target_traces=40", "select.seed=1"]
    )
    later = planned(more, made)["later waves"]  # half of 64 problems
    assert later.why == "about 32 more problems, if 50% of them teach a trace"
    assert later.amounts.samples == about(32 * 4 + 16)
    assert later.amounts.tokens == about(TOKENS * (32 * 4 + 16))


def test_a_shard_that_is_lost_is_told_from_a_damaged_one(one: RunConfig, made: Store) -> None:
    first, second = sorted((made.root / "rollouts").rglob("shards/*.parquet"))[:2]
    first.unlink()
    assert reason(one, made, "rollouts wave 1") == ("partial", "1 of 2 shards are there")
    assert planned(one, made)["rollouts wave 1"].amounts.samples == about(64)
    second.write_bytes(b"cut")
    assert reason(one, made, "rollouts wave 1") == (
        "missing",
        "0 of 2 shards are there, 1 is damaged and made again",
    )
    for path in (second, second.with_suffix(".json")):
        path.rename(f"{path}.damaged")
    assert reason(one, made, "rollouts wave 1")[1] == "0 of 2 shards are there, 1 is damaged and made again"


def test_a_damaged_manifest_is_told(one: RunConfig, made: Store) -> None:
    (manifest,) = (made.root / "select").rglob("manifests/*.json")
    manifest.write_text("{")
    status, why = reason(one, made, "select wave 1")
    assert (status, why) == ("partial", "2 of 2 shards are there, their manifest is damaged")


def test_a_damaged_student_is_told_and_its_evaluation_waits_for_it(one: RunConfig, made: Store) -> None:
    (weights,) = (made.root / "distill").rglob("adapter_model.safetensors")
    weights.rename(f"{weights}.damaged")
    assert reason(one, made, "distill") == ("missing", "its files are damaged and made again")
    assert reason(one, made, "evaluate ssb on nano-test")[1].endswith("because distill is missing")


def test_a_student_that_was_never_trained_is_missing(one: RunConfig, made: Store) -> None:
    student = specs(one, made)["distill"]
    shutil.rmtree(made.root / "distill")
    for spec in specs(one, made).values():
        if spec.stage == "evaluate" and student.fingerprint in str(spec.recipe.content):
            shutil.rmtree(made.directory(spec.recipe))
    assert reason(one, made, "distill") == ("missing", "never run")
    assert reason(one, made, "evaluate ssb on nano-test") == ("missing", "because distill is missing")
    assert reason(one, made, "evaluate base on nano-test") == ("cached", "")


def test_more_seeds_are_missing_and_not_stale(one: RunConfig, made: Store) -> None:
    rows = planned(one.model_copy(update={"seeds": 3}), made)
    assert rows["distill (seed 0)"].status == "cached"
    assert (rows["distill (seed 1)"].status, rows["distill (seed 1)"].why) == ("missing", "never run")
    longer = one.distill.model_copy(update={"epochs": 5})
    rows = planned(one.model_copy(update={"seeds": 3, "distill": longer}), made)
    assert rows["distill (seed 0)"].status == rows["evaluate ssb on nano-test (seed 0)"].status == "stale"
    assert rows["distill (seed 1)"].status == rows["evaluate ssb on nano-test (seed 1)"].status == "missing"


def test_an_interrupted_training_tells_its_last_checkpoint(one: RunConfig, made: Store) -> None:
    student = specs(one, made)["distill"]
    assert isinstance(student, distill.Spec)
    folder = work.work_dir(made, student.recipe, student.fingerprint, digest(sources(student, made)))
    (folder / "checkpoint-12").mkdir()
    (folder / "checkpoint-12" / "checksums.json").write_text("{}")
    (made.root / "distill" / student.recipe.hash / "manifests" / f"{student.fingerprint}.json").unlink()
    assert reason(one, made, "distill") == ("partial", "stopped after step 12")


def test_written_solutions_are_kept_for_another_codec(one: RunConfig, made: Store) -> None:
    other = presets.load_config("quickstart", overrides=[*SMALL, "teach.codec=topk"])
    row = planned(other, made)["teach wave 1"]
    assert (row.status, row.why) == ("stale", "teach.codec: hidden -> topk")
    assert row.amounts.samples.value == 0 and row.amounts.seconds.value > 0


def test_an_upstream_result_with_other_bytes_is_the_reason(one: RunConfig, made: Store) -> None:
    rolled = specs(one, made)["rollouts wave 1"]
    manifest = made.manifest(rolled.recipe, rolled.fingerprint)
    assert manifest
    made.commit(rolled.recipe, replace(manifest, stats=manifest.stats | {"truncated": 1}))
    assert reason(one, made, "rollouts wave 1") == ("cached", "")
    assert reason(one, made, "select wave 1") == ("partial", "2 of 2 shards are there, to be checked")
    status, why = reason(one, made, "distill")
    assert (status, why) == ("partial", "its result is there, to be checked; because select wave 1 is partial")


def test_a_hostile_store_does_not_stop_the_plan(one: RunConfig, made: Store) -> None:
    odd = made.root / "evaluate" / "0123456789abcdef"
    (odd / "manifests").mkdir(parents=True)
    for content in ('{"model": 7, "student": ["x"], "verify": null}', "[]", '{"student": "../../etc", "decoding": 1}'):
        (odd / "recipe.json").write_text(content)
        changed = one.model_copy(update={"evaluate": one.evaluate.model_copy(update={"seed": 5})})
        assert planned(changed, made)["evaluate base on nano-test"].status == "stale"


def test_later_rounds_share_a_row_that_takes_as_much_as_the_known_one(one: RunConfig, made: Store) -> None:
    many = presets.load_config("quickstart", overrides=[*SMALL, "target_traces=16", "rounds=1000", "rollouts.seed=1"])
    rows = planned(many, made)
    rest = rows["rounds 2 to 1,000"]
    assert (rest.status, rest.why, rest.round) == ("waits", "for the student of round 1", 2)
    first = [row.amounts.samples.value for row in rows.values() if row.round == 1]
    assert rest.amounts.samples == about(999 * sum(first))
