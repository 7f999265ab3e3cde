"""Evaluation of a model alone: what a run has sampled is shared, and results can be compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import ssb_core
from ssb_core import models
from ssb_core.api.evaluate import configure, evaluation_name, find_student, prepare, run_evaluation
from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError, StoreError
from ssb_core.progress import Progress
from ssb_core.report.verdict import verdict_in_words
from ssb_core.results import compare, hint_effect, queries
from ssb_core.results.provenance import Provenance
from ssb_core.results.student import find_adapter
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.store import Store
from tests.support.adapters import other_adapter
from tests.support.problem_files import write_problems
from tests.support.runs import copied


@pytest.fixture(scope="module")
def evaluated(quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """An adapter that no run has trained, on ten problems, in a store of its own."""
    folder = tmp_path_factory.mktemp("evaluated")
    adapter = other_adapter(quick_run, folder / "scaled")
    return ssb_core.evaluate(
        "nano",
        ["nano-test"],
        adapter=adapter,
        overrides=["evaluate.limit=10"],
        store=folder / "store",
        directory=folder / "runs" / "scaled",
        progress=Progress(),
    )


def shared(adapter: Path | None, quick_run: Run, small: RunConfig, directory: Path) -> Run:
    """An evaluation in the store of the run, which must not have to sample anything."""
    settings = configure("nano", [], small, (), quick_run.store.root)
    evaluation = prepare(settings, adapter, quick_run.store, quick_run.directory.parent)
    return run_evaluation(evaluation, quick_run.store, directory, Progress())


def test_the_base_of_a_run_is_the_same_request(quick_run: Run, small: RunConfig, tmp_path: Path) -> None:
    run = shared(None, quick_run, small, tmp_path / "base")
    assert [s.status for s in run.load_stages()] == ["cached"]
    assert run.manifests("evaluate") == quick_run.manifests("evaluate")[:1]
    ours, theirs = (ssb_core.read_summary(r).score("nano-test", "base") for r in (run, quick_run))
    assert ours == theirs


def test_the_student_of_a_run_is_recognised_by_its_adapter(quick_run: Run, small: RunConfig, tmp_path: Path) -> None:
    copy = other_adapter(quick_run, tmp_path / "copy", 1.0, base_model_name_or_path="somewhere/else")
    own = find_adapter(quick_run).weights
    (copy / own.name).write_bytes(own.read_bytes())
    run = shared(copy, quick_run, small, tmp_path / "student")
    assert [(s.model, s.status) for s in run.load_stages()] == [("ssb", "cached")]
    ours, theirs = (ssb_core.read_summary(r).score("nano-test", "ssb") for r in (run, quick_run))
    assert ours == theirs


def test_a_student_whose_run_is_not_there_gives_the_same_numbers(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    run = ssb_core.evaluate(
        config=small,
        adapter=find_adapter(quick_run).weights.parent,
        store=tmp_path / "store",
        directory=tmp_path / "runs" / "x",
        progress=Progress(),
    )
    ours = ssb_core.read_summary(run).document["benchmarks"]["nano-test"]["models"]["adapter"]
    assert ours == quick_run.load_summary()["benchmarks"]["nano-test"]["models"]["ssb"]


def test_another_adapter_is_evaluated_and_named(evaluated: Run) -> None:
    (score,) = ssb_core.read_summary(evaluated).scores
    assert (score.model, score.n, score.samples) == ("adapter", 10, 4)
    summary = evaluated.load_summary()
    assert summary["adapter"]["directory"].endswith("/scaled") and summary["stages"].keys() == {"evaluate"}
    assert verdict_in_words(summary).startswith("Only an adapter was evaluated, on nano-test (partial: 10 of 512")
    assert "nano-test" in (evaluated.directory / "report.html").read_text()


def test_an_evaluation_can_be_compared_with_a_run(evaluated: Run, quick_run: Run) -> None:
    side = compare.load_side(evaluated.directory.parent, "scaled", None, evaluated.store)
    assert side.label == "scaled:adapter" and side.describe().endswith("/scaled on nano")
    (compared,) = compare.compare(compare.Side(quick_run, "base"), side).benchmarks
    assert (compared.n, compared.of) == (10, 512)


def test_what_an_evaluation_does_not_have_is_refused_in_its_own_words(evaluated: Run) -> None:
    with pytest.raises(ConfigError, match="run scaled is an evaluation, which has no rollouts and no student"):
        Provenance.load(evaluated)
    with pytest.raises(ConfigError, match="run scaled is an evaluation, which captures no signal"):
        hint_effect.load_taught(evaluated)


def test_the_folder_of_another_run_is_refused_whether_it_is_finished_or_not(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    finished, begun = copied(quick_run, tmp_path), Run(tmp_path / "begun", quick_run.store)
    begun.begin(small).note_begun(Pipeline.of(small, begun.store.root).wave(0, 32).rollouts, "rollouts wave 1")
    report = finished.path("report.html").read_bytes()
    for run in (finished, begun):
        with pytest.raises(ConfigError, match=f"--name {run.name} is a run with more than an evaluation"):
            shared(None, run, small, run.directory)
    assert finished.path("report.html").read_bytes() == report and begun.draft.load_begun()


def test_a_student_is_recognised_though_a_later_try_of_its_run_failed(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    copy = copied(quick_run, tmp_path)
    copy.begin(small).note_failure("distill", "distill", StoreError("it diverged"))
    adapter = models.Adapter.find(find_adapter(copy).weights.parent)
    model = models.resolve(small.model, copy.store.root)
    assert find_student(adapter, model, copy.store, copy.directory.parent)


def test_latest_is_a_run_though_an_evaluation_finished_later(quick_run: Run, evaluated: Run, tmp_path: Path) -> None:
    for run in (quick_run, evaluated):
        (tmp_path / run.name).mkdir()
        (tmp_path / run.name / "summary.json").write_text(json.dumps(run.load_summary()))
    assert Run.named(tmp_path, "latest", quick_run.store).name == "quick"
    assert Run.named(evaluated.directory.parent, "latest", evaluated.store).name == "scaled"


def test_the_number_type_is_that_of_the_stored_weights(tmp_path: Path) -> None:
    assert configure("nano", ["nano-test"], None, (), tmp_path).model.dtype == "float32"
    assert configure("nano", ["nano-test"], None, ["model.dtype=float16"], tmp_path).model.dtype == "float16"
    given = ssb_core.load_preset("quickstart", "model.dtype=bfloat16")
    assert configure("nano", [], given, (), tmp_path).model == given.model


def test_the_name_of_an_evaluation_changes_with_all_that_it_depends_on(quick_run: Run, tmp_path: Path) -> None:
    store, names = Store(tmp_path / "store"), []
    adapters = [None, find_adapter(quick_run).weights.parent, other_adapter(quick_run, tmp_path / "b" / "adapter")]
    for adapter in adapters:
        for overrides in ((), ("evaluate.seed=1",)):
            settings = configure("nano", ["nano-test"], None, overrides, store.root)
            names.append(evaluation_name(prepare(settings, adapter, store, tmp_path / "runs")))
    assert len(set(names)) == len(names)
    assert {name.rsplit("-", 1)[0] for name in names} == {"evaluate-nano", "evaluate-adapter"}


def test_bad_input_is_refused_before_any_work(tmp_path: Path) -> None:
    bad = {"name": "mine", "source": str(write_problems(tmp_path / "p.jsonl", 3)), "max_new_tokens": 5000}
    with pytest.raises(ConfigError, match=r"evaluate.max_new_tokens \(on mine\) is 5000, but the model's context"):
        ssb_core.evaluate("nano", [bad], store=tmp_path / "store", directory=tmp_path / "runs" / "x")
    with pytest.raises(ConfigError, match="no model is named\n  remedy: --model"):
        ssb_core.evaluate(benchmarks=["nano-test"], store=tmp_path / "store")
    assert not (tmp_path / "store").exists() and not (tmp_path / "runs").exists()


def test_the_configuration_of_an_evaluation_can_be_read_back(evaluated: Run) -> None:
    config = queries.load_config(evaluated)
    assert config.model.source == "nano" and config.evaluate.benchmarks[0].max_new_tokens == 240
