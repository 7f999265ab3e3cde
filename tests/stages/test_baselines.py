"""Baselines: what each learns from, that they share what SSB made, and that several seeds are told apart."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ssb_core import models, prompts, report
from ssb_core.config import RunConfig, presets
from ssb_core.progress import Progress
from ssb_core.results.costs import cost
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import plan
from ssb_core.stages import Spec, distill, execute, forget, lineage, required, select
from ssb_core.stages.baselines import ABLATIONS, rft, ssb_no_wrong
from ssb_core.store import Manifest, Store, work
from ssb_core.training.dataset import Traces
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
    found = pipeline.students([pipeline.wave(0, 32)])
    assert [s.names for s in found] == [{"model": m, "seed": i} for m in ("ssb", *ABLATIONS) for i in (0, 1)]


def students(settings: RunConfig, store: Store) -> dict[tuple[str, int], distill.Spec]:
    walk = (r.spec for r in Pipeline.of(settings, store.root).walk(store))
    return {(s.method, s.distill.seed): s for s in walk if isinstance(s, distill.Spec)}


def test_baselines_share_what_ssb_made_and_every_model_is_scored_with_every_seed(run: Run) -> None:
    made = {(s.stage, s.model, s.seed): s.status for s in run.load_stages() if s.stage not in ("rollouts", "select")}
    assert made["teach", "", None] == "cached" and made["teach", "ssb-no-wrong", None] == "ran"
    assert made["distill", "ssb", 0] == "cached" and made["sft", "sft", 0] == "ran"
    (benchmark,) = run.load_summary()["benchmarks"].values()
    assert list(benchmark["models"]) == ["base", "ssb", "sft", "rft", "ssb-no-wrong"]
    assert {s.status for s in run.load_stages() if (s.stage, s.model) == ("evaluate", "base")} == {"cached"}


def test_what_a_baseline_was_taught_does_not_count_as_yield(run: Run, quick_run: Run) -> None:
    assert run.load_summary()["yield"] == quick_run.load_summary()["yield"]
    assert run.load_summary()["signal"] == quick_run.load_summary()["signal"]
    assert run.manifests("teach") == quick_run.manifests("teach")


def test_seeds_give_other_students_of_the_same_traces_which_are_scored_together(
    run: Run, small: RunConfig, tmp_path: Path
) -> None:
    twice = small.model_copy(update={"seeds": 2})
    again = run_stages(twice, run.store, tmp_path / "runs" / "seeds")
    found = students(twice, run.store)
    assert list(found) == [("ssb", 0), ("ssb", 1)]
    assert {s.seed: s.status for s in again.load_stages() if s.stage == "distill"} == {0: "cached", 1: "ran"}
    weights = [load_file(found["ssb", i].adapter(run.store) / "adapter_model.safetensors") for i in (0, 1)]
    assert all(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert found["ssb", 0].teach == found["ssb", 1].teach
    (benchmark,) = again.load_summary()["benchmarks"].values()
    score, (first, second) = benchmark["models"]["ssb"], benchmark["models"]["ssb"]["seeds"]
    assert score["accuracy"] == pytest.approx((first + second) / 2)
    (alone,) = run.load_summary()["benchmarks"].values()
    assert first == alone["models"]["ssb"]["accuracy"]
    low, high = score["ci95"]
    assert low < score["accuracy"] < high and "seeds" not in benchmark["models"]["base"]


def test_rft_learns_the_correct_rollout_of_every_problem_that_was_taught(
    run: Run, compared: RunConfig, tmp_path: Path
) -> None:
    spec = students(compared, run.store)["rft", 0]
    taught = [required(t, run.store) for t in spec.teach]
    n = rft.lay_out(spec, run.store, taught, tmp_path / "rollouts.arrow")
    distill.lay_out(spec, run.store, taught, tmp_path / "solutions.arrow")
    learned, solutions = Traces(tmp_path / "rollouts.arrow"), Traces(tmp_path / "solutions.arrow")
    assert n == len(learned) == len(solutions) == spec.limit
    chosen = spec.teach[0].solutions.select
    shards = (run.store.tables(required(request, run.store)) for request in (chosen, chosen.rollouts))
    pairs = (
        p for graded, rolled in zip(*shards, strict=True) for p in select.pairs(graded, rolled, chosen.rollouts.wave)
    )
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
    layout: Any = rft.lay_out if method == "rft" else distill.lay_out
    layout(spec, run.store, [required(t, run.store) for t in spec.teach], tmp_path / "t.arrow")
    model, traces = models.load_model(spec.teach[0].model, "cpu"), Traces(tmp_path / "t.arrow")
    first = torch.randperm(len(traces), generator=torch.Generator().manual_seed(spec.distill.seed))[:4].tolist()
    total, tokens = 0.0, 0
    for row in (traces[i] for i in first):
        ids = torch.cat([row["prompt_ids"], row["completion_ids"]])[None]
        logits = model(ids).logits[0, len(row["prompt_ids"]) - 1 : -1]
        total += torch.nn.functional.cross_entropy(logits, row["completion_ids"], reduction="sum").item()
        tokens += len(row["completion_ids"])
    log = distill.read_log(spec.directory(run.store))
    assert log[0]["loss"] == pytest.approx(total / tokens, rel=1e-4)
    assert sum(r["loss"] for r in log[6:]) < sum(r["loss"] for r in log[:6])


def test_a_run_that_stops_before_a_baseline_asks_nothing_of_its_teacher(
    small: RunConfig, compared: RunConfig, quick_run: Run
) -> None:
    pipeline = Pipeline.of(compared, quick_run.store.root)
    labels = [r.label for r in pipeline.walk(quick_run.store, "distill")]
    assert labels == [r.label for r in Pipeline.of(small, quick_run.store.root).walk(quick_run.store, "distill")]
    rows = [(row.label, row.status) for row in plan(pipeline, quick_run.store)]
    assert ("distill", "cached") in rows and ("sft", "missing") in rows
    assert rows[-1] == ("the rest", "waits") and rows[-2][0].endswith("without the wrong rollout")


def test_a_baseline_whose_teacher_taught_nothing_is_left_out(
    run: Run, compared: RunConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def silent(spec: Spec, store: Store) -> Manifest:
        found = required(spec, store)
        return replace(found, stats=found.stats | {"taught": 0}) if spec.stage == "teach" and spec.names else found

    monkeypatch.setattr("ssb_core.runs.pipeline.required", silent)
    labels = [r.label for r in Pipeline.of(compared, run.store.root).walk(run.store)]
    assert "sft" in labels and "ssb-no-wrong" not in labels
    assert not any("ssb-no-wrong" in label for label in labels)


def test_without_the_wrong_rollout_the_teacher_sees_the_correct_one_only(run: Run, compared: RunConfig) -> None:
    spec = students(compared, run.store)["ssb-no-wrong", 0]
    ssb = students(compared, run.store)["ssb", 0]
    assert spec.teach == tuple(ssb_no_wrong.teach_of(t) for t in ssb.teach) != ssb.teach
    tokenizer = models.load_tokenizer(spec.teach[0].model)
    shown = [
        tokenizer.decode(ids)
        for t in run.store.tables(required(spec.teach[0], run.store))
        for ids in t["teacher_prompt_ids"].to_pylist()
    ]
    assert shown and all("correct solution" in text and "wrong solution" not in text for text in shown)


@pytest.mark.soak  # test_distill.py has the same launcher in every suite; here only the request's kind is another
def test_a_student_of_a_baseline_is_made_in_several_processes_too(
    run: Run, compared: RunConfig, tmp_path: Path
) -> None:
    spec = students(compared, run.store)["rft", 0]
    expected = distill.read_log(spec.directory(run.store))
    shutil.copytree(run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    shutil.rmtree(store.root / "rft")
    together = spec.model_copy(update={"execution": spec.execution.model_copy(update={"train_processes": 2})})
    execute(together, store, Progress())
    assert [r["loss"] for r in distill.read_log(together.directory(store))] == pytest.approx(
        [r["loss"] for r in expected], rel=1e-3
    )


def test_costs_count_what_each_method_sampled_and_all_that_was_spent_on_it(run: Run, compared: RunConfig) -> None:
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
    found, weights = students(compared, store), {"rollouts": 1, "select": 10, "teach": 100}
    for part in {p.fingerprint: p for student in found.values() for p in lineage(student)}.values():
        work.add_seconds(store, part.recipe, part.fingerprint, weights.get(part.stage, 1000))
    assert {method: cost(student, store).seconds for (method, _), student in found.items()} == {
        "ssb": 1211, "sft": 1211, "rft": 1011, "ssb-no-wrong": 1211,
    }  # fmt: skip


def test_time_spent_outlives_caching_and_failures_and_goes_with_what_it_made(run: Run, tmp_path: Path) -> None:
    shutil.copytree(run.store.root, tmp_path / "store")
    store = Store(tmp_path / "store")
    spec = students(presets.load_config(file=run.directory / "config.yaml"), store)["sft", 0]
    spent = work.read_seconds(store, spec.recipe, spec.fingerprint)
    execute(spec, store, Progress())
    assert work.read_seconds(store, spec.recipe, spec.fingerprint) == spent > 0
    forget(spec, store)
    assert work.read_seconds(store, spec.recipe, spec.fingerprint) == 0

    class Broken(Progress):
        def advance(self, n: int = 1) -> None:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        execute(spec, store, Broken())
    broken = work.read_seconds(store, spec.recipe, spec.fingerprint)
    execute(spec, store, Progress())
    assert work.read_seconds(store, spec.recipe, spec.fingerprint) > broken > 0


def test_the_report_sets_accuracy_against_what_each_method_took(run: Run) -> None:
    assert {"costs", "votes"} < set(report.draw_charts(run)) and "rounds" not in report.draw_charts(run)
    rows = Page(report.page(run)).tables["costs"][1:]
    expected = [[m, f"{c['problems']:,}", f"{c['tokens']:,}"] for m, c in run.load_summary()["costs"].items()]
    assert [row[:3] for row in rows] == expected
