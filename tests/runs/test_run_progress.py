"""The numbered waves and the estimate for a whole run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ssb_core.config import RunConfig
from ssb_core.runs import Run, StageRun
from ssb_core.runs.outlook import TRAINED, Outlook
from ssb_core.runs.pipeline import Pipeline, Step
from ssb_core.runs.run_progress import RunProgress
from ssb_core.store import Store
from tests.support.listeners import Recorded


@pytest.fixture
def pipeline(small: RunConfig, quick_run: Run) -> Pipeline:
    """64 problems, 4 rollouts of each, 24 traces for 2 epochs, 48 problems of one benchmark with 4 samples of each."""
    return Pipeline.of(small, quick_run.store.root)


def made(kind: str, rows: int, seconds: float, label: str = "") -> StageRun:
    """A request that was made from scratch in so many seconds."""
    return StageRun(kind, label or kind, "", "", "ran", seconds, made=rows, reused=0, rows=rows)


def steps(pipeline: Pipeline, quick_run: Run) -> dict[str, Step]:
    return {step.label: step for step in pipeline.walk(quick_run.store)}


def test_the_work_that_is_left_follows_from_the_configuration_and_the_yield(
    pipeline: Pipeline, quick_run: Run, tmp_path: Path
) -> None:
    outlook, walk = Outlook(pipeline, Store(tmp_path), "evaluate", ()), steps(pipeline, quick_run)
    kind = outlook.begin(walk["rollouts wave 1"])
    assert outlook.seconds_left(kind, 0, 9.0) is None
    # Half of the first wave of 32 problems is expected to teach: 16 traces, so 16 more problems are sampled.
    training, answers = 24 * 2 * TRAINED, 2 * 48 * 4
    assert outlook.seconds_left(kind, 10, 10.0) == pytest.approx(16 * 4 + (16 + 8) + training + answers)
    outlook.end(kind, made("rollouts", 128, 64.0))
    kind = outlook.begin(walk["teach wave 1"])
    outlook.end(kind, made("teach", 30, 60.0), taught=24)
    kind = outlook.begin(walk["distill"])
    sample = (64 + 60) / (128 + 30)
    assert outlook.seconds_left(kind, 0, 0) == pytest.approx(answers * sample)
    outlook.end(kind, made("distill", 12, 6.0))
    kind = outlook.begin(walk["evaluate base on nano-test"])
    assert outlook.seconds_left(kind, 96, 24.0) == pytest.approx(192 / 4)
    outlook.end(kind, made("evaluate", 192, 48.0))
    assert outlook.seconds_left(outlook.begin(walk["evaluate ssb on nano-test"]), 0, 0) == 0


def test_what_the_store_has_or_the_run_leaves_out_takes_no_time(pipeline: Pipeline, quick_run: Run) -> None:
    walk = steps(pipeline, quick_run)
    for stop, force, answers in (("evaluate", (), 192), ("evaluate", ("evaluate",), 384), ("distill", (), 0)):
        outlook = Outlook(pipeline, quick_run.store, stop, force)
        for label, taught in (("rollouts wave 1", 0), ("teach wave 1", 24)):
            kind = outlook.begin(walk[label])
            outlook.end(kind, replace(made(kind[0], 128, 1.0), made=0, reused=8, status="cached"), taught)
        kind = outlook.begin(walk["distill"])
        rate = 2.0 / (pipeline.config.distill.batch_size * TRAINED)
        assert outlook.seconds_left(kind, 1, 2.0) == pytest.approx(answers * rate)


def test_more_rounds_seeds_and_baselines_take_more_time(pipeline: Pipeline, quick_run: Run) -> None:
    first = steps(pipeline, quick_run)["rollouts wave 1"]

    def left(**changes: object) -> float:
        changed = replace(pipeline, config=pipeline.config.model_copy(update=changes))
        outlook = Outlook(changed, quick_run.store, "evaluate", ())
        return outlook.seconds_left(outlook.begin(first), 1, 1.0) or 0.0

    student = 24 * 2 * TRAINED + 48 * 4
    grpo = pipeline.config.grpo
    assert left(seeds=3) - left() == pytest.approx(2 * student)
    assert left(baselines=("sft",)) - left() == pytest.approx(student)
    assert left(baselines=("grpo",)) - left() == pytest.approx(48 * grpo.samples * (1 + TRAINED) + 192)
    assert left(rounds=2) - left() == pytest.approx(48 * 4 + 24 + student)


def test_phases_are_named_by_their_step_and_the_estimate_is_passed_on(
    pipeline: Pipeline, quick_run: Run, tmp_path: Path
) -> None:
    listener, walk = Recorded(), steps(pipeline, quick_run)
    progress = RunProgress(listener, Outlook(pipeline, Store(tmp_path), "evaluate", ()))
    for label, phases in {"rollouts wave 1": ["rollouts"], "teach wave 1": ["teach", "capture"]}.items():
        progress.begin_step(walk[label])
        for phase in phases:
            progress.begin(phase, 4, "samples", 1)
            progress.advance(3)
            progress.end()
        progress.end_step(made(label.split()[0], 4, 1.0), 2)
    progress.begin_step(Step(walk["evaluate ssb on nano-test"].spec, "evaluate ssb on nano-test (seed 1)"))
    progress.begin("evaluate ssb on nano-test", 1, "samples")
    begun = [call[1] for call in listener.calls if call[0] == "begin"]
    assert begun == ["rollouts wave 1", "teach wave 1", "capture wave 1", "evaluate ssb on nano-test (seed 1)"]
    assert [call for call in listener.calls if call[0] == "estimate"] != []
    progress.note("a")
    progress.wait("b")
    assert listener.calls[-2:] == [("note", "a"), ("wait", "b")]
