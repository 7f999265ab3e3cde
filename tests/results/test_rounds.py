"""Rounds: the student of one is the base of the next, each is cached, and the summary shows each teacher's drift."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ssb_core import models, report, stages
from ssb_core.api.preflight import refuse_bad_input
from ssb_core.config import RunConfig, presets
from ssb_core.progress import Progress
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import plan
from ssb_core.stages import Runtime, Spec, finished, merge, rollouts
from ssb_core.stages.execute import execute
from ssb_core.store import Manifest, Store
from tests.support.pages import Page
from tests.support.runs import run_stages
from tests.support.settings import SMALL

TWO = (*SMALL, "rounds=2", "problems.limit=32", "target_traces=8", "distill.epochs=1", "evaluate.benchmarks.0.limit=16")


@pytest.fixture(scope="module")
def twice() -> RunConfig:
    return presets.load_config("quickstart", overrides=TWO)


@pytest.fixture(scope="module")
def run(twice: RunConfig, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A finished run of two rounds; tests must not change its store."""
    root = tmp_path_factory.mktemp("rounds")
    return run_stages(twice, Store(root / "store"), root / "runs" / "rounds")


def specs(settings: RunConfig, store: Store) -> list[Spec]:
    return [step.spec for step in Pipeline.of(settings, store.root).walk(store)]


def the(kind: type, number: int, walked: list[Spec]) -> Any:
    return next(s for s in walked if type(s) is kind and s.round == number)


def test_the_second_rounds_base_is_the_first_rounds_student(run: Run, twice: RunConfig) -> None:
    walked = specs(twice, run.store)
    merged, second = the(merge.Spec, 1, walked), the(rollouts.Spec, 2, walked)
    assert second.model == merged.model(run.store) and second.merged == merged
    base = merged.student.teach[0].model
    student = models.load_model(base, "cpu", merged.student.load_adapter(run.store))
    ids = torch.arange(40)[None]
    merged_logits = models.load_model(second.model, "cpu")(ids).logits
    torch.testing.assert_close(merged_logits, student(ids).logits, rtol=1e-4, atol=1e-4)
    assert (merged_logits - models.load_model(base, "cpu")(ids).logits).abs().max() > 1e-2
    assert models.end_of_turn(second.model) == models.end_of_turn(base)
    tokenizers = [models.tokenizer_digest(models.load_tokenizer(m)) for m in (base, second.model)]
    assert tokenizers[0] == tokenizers[1]


def test_every_round_is_scored_and_cached(run: Run, twice: RunConfig, tmp_path: Path) -> None:
    (benchmark,) = run.load_summary()["benchmarks"].values()
    assert list(benchmark["models"]) == ["base", "ssb", "ssb-round-2"]
    again = run_stages(twice, run.store, tmp_path / "runs" / "again")
    assert {s.status for s in again.load_stages()} == {"cached"}
    first = run_stages(twice.model_copy(update={"rounds": 1}), run.store, tmp_path / "runs" / "first")
    assert {s.status for s in first.load_stages()} == {"cached"} and {s.round for s in first.load_stages()} == {1}
    assert first.load_summary()["yield"] == run.load_summary()["yield"], "the yield is that of the first round"


def test_the_summary_has_the_accuracy_of_each_rounds_base_and_teacher(run: Run) -> None:
    first, second = run.load_summary()["rounds"]
    assert (first["number"], second["number"]) == (1, 2)
    counted = run.load_summary()["yield"]
    assert [first[k] for k in ("problems", "mixed", "taught")] == [counted[k] for k in ("problems", "mixed", "taught")]
    (sampled,) = run.manifests("rollouts")
    assert first["bare_tokens"] == sampled.stats["tokens"] / sampled.stats["samples"]
    assert first["hinted_accuracy"] > first["bare_accuracy"] > 0 and 10 < first["hinted_tokens"] < 160
    assert 0 < second["bare_accuracy"] < 1 and second["mixed"] >= second["taught"] > 0


def test_another_student_of_the_first_round_makes_the_second_stale(run: Run, twice: RunConfig, tmp_path: Path) -> None:
    shutil.copytree(run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    second = the(rollouts.Spec, 2, specs(twice, store))
    assert finished(second, store)
    student = second.merged.student
    path = store.directory(student.recipe) / "manifests" / f"{student.fingerprint}.json"
    content = json.loads(path.read_text())
    del content["digest"]
    path.write_text(json.dumps(content | {"facts": {**content["facts"], "last_loss": 0.5}}))
    assert finished(student, store) and finished(second, store) is None


def test_a_round_that_teaches_nothing_is_the_last(run: Run, twice: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    required = stages.required

    def nothing_in_round_two(spec: Spec, store: Store) -> Manifest:
        manifest = required(spec, store)
        none_taught = {**manifest.stats, "taught": 0}
        return replace(manifest, stats=none_taught) if spec.stage == "teach" and spec.round == 2 else manifest

    monkeypatch.setattr("ssb_core.runs.pipeline.required", nothing_in_round_two)
    labels = [step.label for step in Pipeline.of(twice, run.store.root).walk(run.store)]
    assert labels[-1].startswith("teach wave") and labels[-1].endswith("(round 2)")


def test_a_round_that_teaches_no_more_than_is_held_out_is_the_last(run: Run, twice: RunConfig) -> None:
    spare = twice.model_copy(update={"distill": twice.distill.model_copy(update={"held_out": 10**6})})
    merged = the(merge.Spec, 1, specs(twice, run.store))
    later = replace(Pipeline.of(spare, run.store.root), model=merged.model(run.store), merged=merged)
    assert [step.spec.stage for step in later.walk(run.store)][-1] == "teach"


def test_a_base_whose_suggested_sampling_is_not_valid_can_be_merged(
    run: Run, twice: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run.store.root, tmp_path / "store")
    store, load_merged = Store(tmp_path / "store"), models.load_merged
    spec = the(merge.Spec, 1, specs(twice, store))
    shutil.rmtree(store.root / "merge")

    def suggesting(*args: Any) -> Any:
        merged = load_merged(*args)
        merged.generation_config.temperature, merged.generation_config.do_sample = 0.6, False
        return merged

    monkeypatch.setattr(models, "load_merged", suggesting)
    execute(spec, store, Runtime())
    assert models.end_of_turn(spec.model(store)) == models.end_of_turn(spec.student.teach[0].model)


def test_a_merge_that_was_broken_off_is_made_anew(run: Run, twice: RunConfig, tmp_path: Path) -> None:
    shutil.copytree(run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    spec = the(merge.Spec, 1, specs(twice, store))
    expected = finished(spec, store)
    shutil.rmtree(store.root / "merge")

    class Broken(Progress):
        def advance(self, n: int = 1) -> None:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        execute(spec, store, Runtime(Broken()))
    assert finished(spec, store) is None
    assert execute(spec, store, Runtime()).manifest == expected
    assert not list(store.root.rglob("*.work"))


def test_the_report_has_a_chart_and_a_table_of_the_rounds(run: Run) -> None:
    assert "rounds" in report.draw_charts(run)
    rows = Page(report.page(run)).tables["rounds"][1:]
    assert [row[0] for row in rows] == ["1", "2"]
    assert [row[5] for row in rows] == [f"{100 * r['hinted_accuracy']:.1f}%" for r in run.load_summary()["rounds"]]


def test_the_plan_of_a_later_round_names_what_is_missing(run: Run, twice: RunConfig, tmp_path: Path) -> None:
    shutil.copytree(run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    assert {row.status for row in plan(Pipeline.of(twice, store.root), store)} == {"cached"}
    shutil.rmtree(store.root / "merge")
    rows = [row for row in plan(Pipeline.of(twice, store.root), store) if row.status != "cached"]
    planned = [(row.label, row.status, row.round) for row in rows]
    assert planned[0] == ("merge (round 1)", "missing", 1)
    assert planned[-1] == ("evaluate ssb-round-2 on nano-test", "partial", 2)
    assert ("rollouts wave 1 (round 2)", "partial", 2) in planned
    assert all(row.why.endswith("because merge (round 1) is missing") for row in rows[1:])
    refuse_bad_input(twice, store, tmp_path / "runs", "merge")
