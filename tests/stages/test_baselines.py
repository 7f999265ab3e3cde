"""Baselines: what each learns from, that they share the results of SSB, and that seeds have names of their own."""

from __future__ import annotations

import shutil
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ssb_core import models, prompts, report
from ssb_core.config import RunConfig, presets
from ssb_core.progress import Progress
from ssb_core.records import Rollout, Selection
from ssb_core.results.costs import cost
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import plan
from ssb_core.stages import Runtime, Spec, delete, distill, lineage, required, select
from ssb_core.stages.baselines import ABLATIONS, rft, ssb_no_wrong
from ssb_core.stages.execute import execute
from ssb_core.store import Manifest, Store, work
from ssb_core.training.dataset import Traces
from ssb_core.training.log import read_log
from tests.support.pages import Page
from tests.support.runs import run_stages
from tests.support.settings import SMALL


@pytest.fixture(scope="module")
def compared() -> RunConfig:
    return presets.load_config("quickstart", overrides=[*SMALL, "baselines=[sft,rft,ssb-no-wrong]"])


@pytest.fixture(scope="module")
def run(compared: RunConfig, quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with baselines and two seeds, in a copy of the store that a run without them left."""
    root = tmp_path_factory.mktemp("compared")
    shutil.copytree(quick_run.store.root, root / "store")
    return run_stages(compared, Store(root / "store"), root / "runs" / "compared")


def test_every_method_is_trained_with_every_seed(compared: RunConfig, run: Run) -> None:
    pipeline = Pipeline.of(compared.model_copy(update={"seeds": 2}), run.store.root)
    trained = pipeline.students([pipeline.wave(0, 32)])
    assert [s.labels for s in trained] == [{"model": m, "seed": i} for m in ("ssb", *ABLATIONS) for i in (0, 1)]


def students(settings: RunConfig, store: Store) -> dict[tuple[str, int], distill.Spec]:
    specs = (step.spec for step in Pipeline.of(settings, store.root).walk(store))
    return {(s.method, s.distill.seed): s for s in specs if isinstance(s, distill.Spec)}


def test_baselines_reuse_the_results_of_ssb_and_every_model_is_scored(run: Run) -> None:
    status = {(s.stage, s.model, s.seed): s.status for s in run.load_stages() if s.stage not in ("rollouts", "select")}
    assert status["teach", "", None] == "cached" and status["teach", "ssb-no-wrong", None] == "ran"
    assert status["distill", "ssb", 0] == "cached" and status["sft", "sft", 0] == "ran"
    (benchmark,) = run.load_summary()["benchmarks"].values()
    assert list(benchmark["models"]) == ["base", "ssb", "sft", "rft", "ssb-no-wrong"]
    assert {s.status for s in run.load_stages() if (s.stage, s.model) == ("evaluate", "base")} == {"cached"}


def test_solutions_for_a_baseline_alone_do_not_count_as_yield(run: Run, quick_run: Run) -> None:
    assert run.load_summary()["yield"] == quick_run.load_summary()["yield"]
    assert run.load_summary()["signal"] == quick_run.load_summary()["signal"]
    assert run.manifests("teach") == quick_run.manifests("teach")


def test_seeds_give_other_students_of_the_same_traces_scored_together(
    run: Run, small: RunConfig, tmp_path: Path
) -> None:
    thrice = small.model_copy(update={"seeds": 3})
    again = run_stages(thrice, run.store, tmp_path / "runs" / "seeds")
    trained = students(thrice, run.store)
    assert list(trained) == [("ssb", 0), ("ssb", 1), ("ssb", 2)]
    status = {s.seed: s.status for s in again.load_stages() if s.stage == "distill"}
    assert status == {0: "cached", 1: "ran", 2: "ran"}
    weights = [load_file(trained["ssb", i].load_adapter(run.store) / "adapter_model.safetensors") for i in range(3)]
    for one, other in combinations(weights, 2):
        assert all(not torch.equal(one[name], other[name]) for name in one)
    assert trained["ssb", 0].teach == trained["ssb", 1].teach == trained["ssb", 2].teach
    (benchmark,) = again.load_summary()["benchmarks"].values()
    score, (first, *others) = benchmark["models"]["ssb"], benchmark["models"]["ssb"]["seeds"]
    assert score["accuracy"] == pytest.approx((first + sum(others)) / 3)
    (one_seed,) = run.load_summary()["benchmarks"].values()
    assert first == one_seed["models"]["ssb"]["accuracy"]
    low, high = score["ci95"]
    assert low < score["accuracy"] < high and "seeds" not in benchmark["models"]["base"]


def test_rft_learns_the_correct_rollout_of_every_taught_problem(run: Run, compared: RunConfig, tmp_path: Path) -> None:
    spec = students(compared, run.store)["rft", 0]
    taught = [required(t, run.store) for t in spec.teach]
    n = rft.write_dataset(spec, run.store, taught, tmp_path / "rollouts.arrow")
    distill.write_dataset(spec, run.store, taught, tmp_path / "solutions.arrow")
    learned, solutions = Traces(tmp_path / "rollouts.arrow"), Traces(tmp_path / "solutions.arrow")
    assert n == len(learned) == len(solutions) == spec.limit
    request = spec.teach[0].solutions.select
    selected, sampled = required(request, run.store), required(request.rollouts, run.store)
    wave = request.rollouts.load_wave()
    pairs = [
        pair
        for files in zip(selected.files, sampled.files, strict=True)
        for pair in select.pairs(
            run.store.records(selected, files[0], Selection), run.store.records(sampled, files[1], Rollout), wave
        )
    ]
    tokenizer = models.load_tokenizer(spec.teach[0].model)
    correct = {prompts.encode(tokenizer, prompts.tutor_messages(p.problem.question)): p.correct for p in pairs}
    for row, solution in zip(learned, solutions, strict=True):
        assert row["prompt_ids"].tolist() == solution["prompt_ids"].tolist()
        assert tuple(row["completion_ids"].tolist()) == correct[tuple(row["prompt_ids"].tolist())].completion_ids
        assert row["signal"] == {}


@pytest.mark.parametrize("method", ["sft", "rft"])
def test_the_first_loss_of_text_baselines_is_the_bases_cross_entropy(
    method: str, run: Run, compared: RunConfig, tmp_path: Path
) -> None:
    spec = students(compared, run.store)[method, 0]
    write_dataset: Any = rft.write_dataset if method == "rft" else distill.write_dataset
    write_dataset(spec, run.store, [required(t, run.store) for t in spec.teach], tmp_path / "t.arrow")
    model, traces = models.load_model(spec.teach[0].model, "cpu"), Traces(tmp_path / "t.arrow")
    first = torch.randperm(len(traces), generator=torch.Generator().manual_seed(spec.distill.seed))[:4].tolist()
    total, tokens = 0.0, 0
    for row in (traces[i] for i in first):
        ids = torch.cat([row["prompt_ids"], row["completion_ids"]])[None]
        logits = model(ids).logits[0, len(row["prompt_ids"]) - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, row["completion_ids"], reduction="sum").item()
        tokens += len(row["completion_ids"])
    log = read_log(spec.directory(run.store))
    assert log[0]["loss"] == pytest.approx(total / tokens, rel=1e-4)
    assert sum(r["loss"] for r in log[6:]) < sum(r["loss"] for r in log[:6])


def test_a_run_that_stops_before_a_baseline_does_not_run_its_teacher(
    small: RunConfig, compared: RunConfig, quick_run: Run
) -> None:
    pipeline = Pipeline.of(compared, quick_run.store.root)
    labels = [step.label for step in pipeline.walk(quick_run.store, "distill")]
    assert labels == [step.label for step in Pipeline.of(small, quick_run.store.root).walk(quick_run.store, "distill")]
    rows = [(row.label, row.status) for row in plan(pipeline, quick_run.store)]
    assert ("distill", "cached") in rows and ("sft", "missing") in rows
    assert ("teach wave 1 without the wrong rollout", "missing") in rows


def test_a_baseline_whose_teacher_taught_nothing_is_left_out(
    run: Run, compared: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(spec: Spec, store: Store) -> Manifest:
        manifest = required(spec, store)
        own = spec.stage == "teach" and spec.labels
        return replace(manifest, stats=manifest.stats | {"taught": 0}) if own else manifest

    monkeypatch.setattr("ssb_core.runs.pipeline.required", silent)
    labels = [step.label for step in Pipeline.of(compared, run.store.root).walk(run.store)]
    assert "sft" in labels and "ssb-no-wrong" not in labels
    assert not any("ssb-no-wrong" in label for label in labels)


def test_without_the_wrong_rollout_the_teacher_sees_the_correct_one_only(run: Run, compared: RunConfig) -> None:
    spec = students(compared, run.store)["ssb-no-wrong", 0]
    ssb = students(compared, run.store)["ssb", 0]
    assert spec.teach == tuple(ssb_no_wrong.teach_of(t) for t in ssb.teach) != ssb.teach
    tokenizer = models.load_tokenizer(spec.teach[0].model)
    prompts_read = [
        tokenizer.decode(ids)
        for t in run.store.tables(required(spec.teach[0], run.store))
        for ids in t["teacher_prompt_ids"].to_pylist()
    ]
    assert prompts_read and all("correct solution" in text and "wrong solution" not in text for text in prompts_read)


@pytest.mark.soak  # test_distill.py covers the launcher in every suite; only the kind of request is another here
def test_a_student_of_a_baseline_is_made_in_several_processes_too(
    run: Run, compared: RunConfig, tmp_path: Path
) -> None:
    spec = students(compared, run.store)["rft", 0]
    expected = read_log(spec.directory(run.store))
    shutil.copytree(run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    shutil.rmtree(store.root / "rft")
    parallel = spec.model_copy(update={"execution": spec.execution.model_copy(update={"train_processes": 2})})
    execute(parallel, store, Runtime())
    assert [r["loss"] for r in read_log(parallel.directory(store))] == pytest.approx(
        [r["loss"] for r in expected], rel=1e-3
    )


def test_costs_count_the_samples_and_the_time_of_each_method(run: Run, compared: RunConfig) -> None:
    costs = run.load_summary()["costs"]
    assert list(costs) == ["ssb", "sft", "rft", "ssb-no-wrong"]
    sampled = sum(m.stats["tokens"] for m in run.manifests("rollouts"))
    written = sum(m.stats["written_tokens"] for m in run.manifests("teach"))
    assert costs["rft"]["tokens"] == sampled
    assert costs["ssb"]["tokens"] == costs["sft"]["tokens"] == sampled + written > sampled
    assert costs["ssb-no-wrong"]["tokens"] > sampled
    assert {c["problems"] for c in costs.values()} == {run.load_summary()["yield"]["problems"]}
    assert min(c["seconds"] for c in costs.values()) > 0


def test_seconds_count_every_request_that_a_method_needs(run: Run, compared: RunConfig, tmp_path: Path) -> None:
    shutil.copytree(run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    for noted in store.root.rglob("seconds/*.json"):
        noted.unlink()
    trained, weights = students(compared, store), {"rollouts": 1, "select": 10, "teach": 100}
    for part in {p.fingerprint: p for student in trained.values() for p in lineage(student)}.values():
        work.add_seconds(store, part.recipe, part.fingerprint, weights.get(part.stage, 1000))
    assert {method: cost(student, store).seconds for (method, _), student in trained.items()} == {
        "ssb": 1211, "sft": 1211, "rft": 1011, "ssb-no-wrong": 1211,
    }  # fmt: skip


def test_time_spent_outlives_caching_and_failures_and_is_deleted_with_results(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    spec = students(presets.load_config(file=run.directory / "config.yaml"), store)["sft", 0]
    spent = work.read_seconds(store, spec.recipe, spec.fingerprint)
    execute(spec, store, Runtime())
    assert work.read_seconds(store, spec.recipe, spec.fingerprint) == spent > 0
    delete(spec, store)
    assert work.read_seconds(store, spec.recipe, spec.fingerprint) == 0

    class Broken(Progress):
        def advance(self, n: int = 1) -> None:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        execute(spec, store, Runtime(Broken()))
    broken = work.read_seconds(store, spec.recipe, spec.fingerprint)
    execute(spec, store, Runtime())
    assert work.read_seconds(store, spec.recipe, spec.fingerprint) > broken > 0


def test_the_report_sets_accuracy_against_the_cost_of_each_method(run: Run) -> None:
    assert {"costs", "votes"} < set(report.draw_charts(run)) and "rounds" not in report.draw_charts(run)
    rows = Page(report.page(run)).tables["costs"][1:]
    expected = [[m, f"{c['problems']:,}", f"{c['tokens']:,}"] for m, c in run.load_summary()["costs"].items()]
    assert [row[:3] for row in rows] == expected
