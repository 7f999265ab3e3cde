"""``ssb report`` and ``ssb show`` on runs that are not finished, or whose model is gone."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

import ssb_core
from ssb_core.config import RunConfig
from ssb_core.errors import StoreError
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from tests.support.cli import ssb
from tests.support.runs import copied


def begin(run: Run, quick_run: Run, config: RunConfig) -> None:
    """A try of a run that has finished all stages of the quick run before distill."""
    draft = run.begin(config)
    draft.note_begun(Pipeline.of(config, run.store.root).wave(0, 32).rollouts, "distill")
    draft.note_finished([s for s in quick_run.load_stages() if s.stage in ("rollouts", "select", "teach")])


def test_a_failed_run_is_reported_and_shown_as_far_as_it_went(quick_run: Run, small: RunConfig, tmp_path: Path) -> None:
    run = Run(tmp_path / "mine", quick_run.store)
    begin(run, quick_run, small)
    code, output = ssb("report", "--runs", str(tmp_path), run=run)
    assert code == 0 and output.startswith("run mine is unfinished: distill\n")
    run.draft.note_failure("distill", "distill", StoreError("no trace\x1b was taught\n  remedy: another model"))
    code, output = ssb("report", "--runs", str(tmp_path), run=run)
    assert code == 0 and output.startswith("run mine failed in distill: no trace\ufffd was taught\n  remedy: another m")
    assert "so far   rollouts wave 1 ran, select wave 1 ran, teach wave 1 ran" in output
    counted = quick_run.load_summary()["yield"]
    assert f"{counted['problems']} problems: {counted['mixed']} mixed" in output and "report.html" not in output
    code, output = ssb("show", "nano-train-0003", "--runs", str(tmp_path), run=run)
    assert code == 0 and output.startswith("nano-train-0003, training problem") and "Rollouts" in output
    assert ssb_core.show(run, "nano-train-0003") + "\n" == output


def test_results_of_an_earlier_try_are_reported_with_the_failure_of_the_last(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    run = Run(tmp_path / "mine", quick_run.store)
    shutil.copytree(quick_run.directory, run.directory)
    begin(run, quick_run, small)
    run.draft.note_failure("distill", "distill", StoreError("it diverged"))
    code, output = ssb("report", "mine", "--runs", str(tmp_path), run=run)
    assert code == 0 and "nano-test" in output
    assert "These are the results of an earlier try; the last one:\nrun mine failed in distill: it diverged" in output


def test_the_latest_results_have_a_note_about_a_later_try_and_those_asked_for_by_name_have_none(
    quick_run: Run, small: RunConfig, ssb_here: Callable[..., Any], tmp_path: Path
) -> None:
    copied(quick_run, tmp_path)
    begin(Run(tmp_path / "runs" / "later", quick_run.store), quick_run, small)
    latest, named = (ssb_here("show", "nano-train-0003", *r, cwd=tmp_path).stderr for r in ((), ("--run", "quick")))
    assert latest.startswith("note: run later began later and is unfinished; see: ") and named == ""


def test_reports_and_histories_need_neither_the_model_nor_the_engine(quick_run: Run, tmp_path: Path) -> None:
    run = Run(tmp_path / "mine", quick_run.store)
    shutil.copytree(quick_run.directory, run.directory)
    config = yaml.safe_load(run.path("config.yaml").read_text())
    config["model"]["source"] = str(tmp_path / "gone")
    config["execution"] |= {"engine": "openai", "server": {"url": "http://127.0.0.1:9/v1"}, "device": "cuda"}
    run.path("config.yaml").write_text(yaml.safe_dump(config))
    for command, part in ((("report", "mine"), "nano-test"), (("show", "nano-train-0003"), "Rollouts")):
        code, output = ssb(*command, "--runs", str(tmp_path), run=run)
        assert code == 0 and part in output
