"""The typed summary holds what summary.json holds."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError
from ssb_core.results import read_summary
from ssb_core.runs import Run
from ssb_core.store import write_json
from tests.support.runs import copied, run_stages


def test_the_fields_of_a_finished_run_are_those_of_the_document(quick_run: Run) -> None:
    summary, document = read_summary(quick_run), quick_run.load_summary()
    assert (summary.run, summary.preset, summary.seconds) == ("quick", "quickstart", document["seconds"])
    assert asdict(summary.yields) == document["yield"]
    assert summary.signal and asdict(summary.signal) == document["signal"]
    assert summary.training and summary.training.steps == document["training"]["steps"]
    assert summary.training.first_held_out_loss is None
    assert {name: stage.rows for name, stage in summary.stages.items()} == {
        name: stage["rows"] for name, stage in document["stages"].items()
    }
    assert asdict(summary.making) == document["making"]
    assert summary.making.tokens == sum(stage.tokens or 0 for stage in summary.stages.values())
    assert summary.making.seconds == pytest.approx(sum(s.making_seconds for s in summary.stages.values()), abs=0.1)
    assert summary.stages["select"].tokens is None and summary.stages["teach"].tokens
    assert [asdict(r) for r in summary.rounds] == document["rounds"]
    assert {method: asdict(cost) for method, cost in summary.costs.items()} == document["costs"]
    assert (summary.fingerprints, summary.versions) == (document["fingerprints"], document["versions"])
    assert summary.document == document


def test_scores_and_differences_are_those_of_the_document(quick_run: Run) -> None:
    summary, benchmark = read_summary(quick_run), quick_run.load_summary()["benchmarks"]["nano-test"]
    assert [(s.benchmark, s.model) for s in summary.scores] == [("nano-test", "base"), ("nano-test", "ssb")]
    for score in summary.scores:
        values = benchmark["models"][score.model]
        assert (score.n, score.samples, score.accuracy) == (48, 4, values["accuracy"])
        assert (list(score.ci95), score.pass_at_k) == (values["ci95"], values["pass_at_k"])
        assert (score.seeds, score.seed_sd) == ((score.accuracy,), 0.0)
    (difference,) = summary.differences
    assert (difference.benchmark, difference.model, difference.baseline) == ("nano-test", "ssb", "base")
    assert difference.paired.difference == benchmark["paired"]["ssb-base"]["difference"]
    assert difference.string_match.p_value == benchmark["paired"]["ssb-base"]["string_match"]["p_value"]
    assert summary.score("nano-test", "ssb") == summary.scores[1]
    assert summary.difference("nano-test", "ssb") == difference


def test_models_whose_names_have_hyphens_are_told_apart(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    document = run.load_summary()
    benchmark = document["benchmarks"]["nano-test"]
    benchmark["models"]["ssb-no-wrong"] = benchmark["models"]["ssb"] | {"seeds": [0.5, 0.7], "seed_sd": 0.1}
    paired = benchmark["paired"]["ssb-base"]
    benchmark["paired"] |= {"ssb-no-wrong-base": paired, "ssb-ssb-no-wrong": paired}
    write_json(run.directory / "summary.json", document)
    summary = read_summary(run)
    pairs = [(d.model, d.baseline) for d in summary.differences]
    assert pairs == [("ssb", "base"), ("ssb-no-wrong", "base"), ("ssb", "ssb-no-wrong")]
    assert summary.score("nano-test", "ssb-no-wrong").seeds == (0.5, 0.7)


def test_stages_that_a_run_did_not_reach_are_empty(quick_run: Run, small: RunConfig, tmp_path: Path) -> None:
    run = run_stages(small, copied(quick_run, tmp_path).store, tmp_path / "runs" / "early", "select")
    summary = read_summary(run)
    assert list(summary.stages) == ["rollouts", "select"]
    assert (summary.signal, summary.training, summary.costs) == (None, None, {})
    assert (summary.scores, summary.differences) == ((), ())
    with pytest.raises(KeyError):
        summary.score("nano-test", "base")


def test_the_summary_of_an_unfinished_run_is_refused(quick_run: Run, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run unfinished is not finished\n  remedy: run it again"):
        read_summary(Run(tmp_path / "unfinished", quick_run.store))
