"""Running a whole pipeline. The library, the Prefect flow and the tests all go through `run_pipeline`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import openmp
from ..config import RunConfig
from ..errors import ConfigError, Damaged
from ..models import pick_device
from ..progress import PlainProgress, Progress
from ..report import html
from ..results.summary import summarise
from ..runs import Run, StageRun
from ..runs.pipeline import Pipeline, Step
from ..stages import STAGES, Spec, delete, finished
from ..stages.isolation import StageRunner
from ..store import Store
from .preflight import notes, refuse_bad_input, refuse_bad_stages, run_name

REPAIRS = 3
"""A run gives up when the same file of the store turns out to be damaged this many times."""

RunStep = Callable[[Step, Store, bool], StageRun]
"""Runs one step in a store, from scratch if the third argument is True, and returns its entry."""

OpenRunner = Callable[[], AbstractContextManager[RunStep]]
"""Opens the runner of the steps. Its processes and engines end with the block, before the report is written."""

OnStep = Callable[[Sequence[Spec], Sequence[StageRun]], None]
"""A function that is called after each step with all requests so far and their entries."""


@dataclass(frozen=True, slots=True)
class Span:
    """The stages of a run, from `start` to `stop`. Those in `force` are made again although they are cached."""

    start: str = STAGES[0]
    stop: str = "evaluate"
    force: Collection[str] = ()


def run(
    config: RunConfig,
    store: Store | Path | str = "store",
    directory: Path | str | None = None,
    *,
    preset: str = "custom",
    start: str = STAGES[0],
    stop: str = "evaluate",
    force: Collection[str] | str = (),
    progress: Progress | None = None,
) -> Run:
    """Run the pipeline, or the part of it from stage `start` to stage `stop`, in this process and without Prefect.

    Finished results in the store are reused. An interrupted run goes on where it stopped when it is called again.

    Args:
        config: The whole configuration, e.g. from `load_preset`.
        store: A store, or its folder or URL.
        directory: The folder of report and summary; by default ``runs/`` and a name made from the configuration.
        preset: The configuration's name in tables.
        start: Take everything before this stage from the store, or refuse.
        stop: Stop after this stage.
        force: Make these stages again though they are cached.
        progress: The listener; by default lines on stderr.

    Returns:
        The finished run. `read_summary` reads its numbers, `problem_history` the history of one problem.

    Raises:
        SSBError: bad input (`ConfigError`, before any work), a stage that failed, or an unusable store.
    """
    store = store if isinstance(store, Store) else Store.at(str(store))
    directory = Path(directory) if directory else Path("runs") / run_name(None, preset, config)
    progress = progress or PlainProgress()
    force = (force,) if isinstance(force, str) else force
    refuse_bad_stages(start, stop, list(force))
    result = Run(directory, store)
    with store.looking_once():
        pipeline = refuse_bad_input(config, store, directory.parent, start)
        for line in notes(config, str(directory / "report.html"), stop):
            progress.note(line)
        if config.execution.workers.used:
            progress.note("execution.workers are started by `ssb run` only; here one process makes all shards")
        if pick_device(config.execution.device) == "cpu" and (late := openmp.warning()):
            progress.note(f"note: {late}")
        open_runner = partial(run_here, progress, time.time())
        run_pipeline(result, preset, pipeline, Span(start, stop, force), open_runner, progress)
    return result


@contextmanager
def run_here(progress: Progress, began: float) -> Iterator[RunStep]:
    """Runs steps one after the other without Prefect. What was made since `began` is kept, even if it is forced."""
    with StageRunner() as runner:

        def run_step(step: Step, store: Store, force: bool) -> StageRun:
            started = time.monotonic()
            if force:
                delete(step.spec, store, before=began)
            outcome = runner.execute(step.spec, store, progress)
            seconds = time.monotonic() - started
            return StageRun.of(step.spec, step.label, outcome.manifest, outcome.made, outcome.reused, seconds)

        yield run_step


def run_pipeline(
    run: Run,
    preset: str,
    pipeline: Pipeline,
    span: Span,
    open_runner: OpenRunner,
    progress: Progress,
    on_step: OnStep = lambda specs, stage_runs: None,
) -> None:
    """Run every step of a pipeline in order, then write the summary and the report into the run's folder.

    Where a file of the store turns out to be damaged, the walk begins again and makes it anew: the rest is cached.
    Call it within `Store.looking_once`, so that each manifest is checked once.

    Raises:
        ConfigError: a step before ``span.start`` is not in the store.
        Damaged: the same file was damaged again and again.
    """
    started = time.monotonic()
    run.begin(pipeline.config)
    done: dict[tuple[str, str], StageRun] = {}
    damaged: Counter[str] = Counter()
    while True:
        try:
            with open_runner() as run_step:
                specs, stage_runs = _walk(run, pipeline, span, run_step, progress, on_step, done)
            seconds = time.monotonic() - started
            run.finish(stage_runs, summarise(run.name, preset, run.store, specs, stage_runs, seconds))
            html.write(run)
            return
        except Damaged as e:
            damaged[e.what] += 1
            if damaged[e.what] == REPAIRS:
                raise
            run.store.look_again()
            progress.note(f"{e.what}: set aside, and made again now")


def _walk(
    run: Run,
    pipeline: Pipeline,
    span: Span,
    run_step: RunStep,
    progress: Progress,
    on_step: OnStep,
    done: dict[tuple[str, str], StageRun],
) -> tuple[list[Spec], list[StageRun]]:
    """Run every step; returns the requests and what happened to each. `done` keeps the latter across walks."""
    specs: list[Spec] = []
    stage_runs: list[StageRun] = []
    for step in pipeline.walk(run.store, span.stop):
        spec = step.spec
        _refuse_early(step, run.store, span.start)
        run.note_begun(spec, step.label)
        happened = run_step(step, run.store, spec.stage in span.force)
        if happened.status == "cached":
            progress.note(f"{step.label}: cached")
        key = step.label, happened.fingerprint
        if happened.status != "cached" or key not in done:
            done[key] = happened
        specs.append(spec)
        stage_runs.append(done[key])
        run.note_finished(stage_runs)
        on_step(specs, stage_runs)
    return specs, stage_runs


def _refuse_early(step: Step, store: Store, start: str) -> None:
    """Refuse a step before stage `start` that is not in the store."""
    early = STAGES.index(step.spec.stage) < STAGES.index(start) and step.spec.round == 1
    if early and finished(step.spec, store) is None:
        raise ConfigError(f"--from {start} needs {step.label} in the store; run without --from to make it")
