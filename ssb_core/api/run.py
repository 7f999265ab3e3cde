"""Running a whole pipeline. The library, the Prefect flow and the tests all go through `run_pipeline`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from .. import openmp
from ..config import RunConfig
from ..errors import ConfigError, Damaged
from ..models import pick_device
from ..progress import PlainProgress, Progress
from ..report import html
from ..results.summary import summarise
from ..runs import Draft, Run, StageRun
from ..runs.noted_progress import NotedProgress
from ..runs.outlook import Outlook
from ..runs.pipeline import Pipeline, Step, Walk
from ..runs.run_progress import RunProgress
from ..stages import STAGES, Spec, delete, finished, required
from ..stages.isolation import StageRunner
from ..store import Store
from .preflight import headline, notes, refuse_bad_input, refuse_bad_stages, run_name

REPAIRS = 3
"""A run gives up when the same file of the store turns out to be damaged this many times."""

RunStep = Callable[[Step, Store, bool], StageRun]
"""Runs one step in a store, from scratch if the third argument is True, and returns its entry."""

OpenRunner = Callable[[Progress], AbstractContextManager[RunStep]]
"""Opens the runner of the steps, which reports to a listener. Its processes and engines end with the block, before the
report is written."""

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
        pipeline = refuse_bad_input(config, store, directory, start)
        progress.note(headline(directory.name, config, store))
        for line in notes(config, str(directory / "report.html"), stop):
            progress.note(line)
        if config.execution.workers.used:
            progress.note("execution.workers are started by `ssb run` only; here one process makes all shards")
        if pick_device(config.execution.device) == "cpu" and (late := openmp.warning()):
            progress.note(f"note: {late}")
        open_runner = partial(run_here, began=time.time())
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
    pipeline: Walk,
    span: Span,
    open_runner: OpenRunner,
    progress: Progress,
    on_step: OnStep = lambda specs, stage_runs: None,
) -> None:
    """Run every step of a pipeline in order, then write the summary and the report into the run's folder.

    The files of an earlier try that finished are replaced only then. If the run fails, its folder says where and why.
    Call this within `Store.looking_once`, so that each manifest is checked once.

    Raises:
        ConfigError: a step before ``span.start`` is not in the store.
        Damaged: the same file was damaged again and again.
    """
    with run.exclusive(progress.wait):
        draft = run.begin(pipeline.config)
        walk = _Walk(draft, pipeline, span, NotedProgress(progress, draft.note_phase), on_step)
        try:
            walk.to_the_end(open_runner, preset)
        except BrokenPipeError:
            raise  # the reader of our output has closed the pipe, which interrupts the run
        except Exception as e:
            draft.note_failure(walk.stage, walk.label, e)
            raise


@dataclass
class _Walk:
    """The walk through the steps of a run. `stage` and `label` name the step that it is at."""

    draft: Draft
    pipeline: Walk
    span: Span
    progress: Progress
    on_step: OnStep
    done: dict[tuple[str, str], StageRun] = field(default_factory=dict)
    stage: str = ""
    label: str = "begin"

    def to_the_end(self, open_runner: OpenRunner, preset: str) -> None:
        """Run every step, and publish the summary and the report when both are whole.

        Where a file of the store turns out to be damaged, begin again and make it anew: the rest is cached.
        """
        started, draft = time.monotonic(), self.draft
        damaged: Counter[str] = Counter()
        while True:
            try:
                told = RunProgress(self.progress, self._outlook())
                with open_runner(told) as run_step:
                    specs, stage_runs = self._run_steps(run_step, told)
                self.stage, self.label = "", "summary and report"
                seconds = time.monotonic() - started
                draft.finish(stage_runs, summarise(draft.name, preset, draft.store, specs, stage_runs, seconds))
                html.write(draft)
                draft.publish()
                return
            except Damaged as e:
                damaged[e.what] += 1
                if damaged[e.what] == REPAIRS:
                    raise
                draft.store.look_again()
                self.progress.note(f"{e.what}: set aside, and made again now")

    def _outlook(self) -> Outlook | None:
        """The estimate for the whole run; an evaluation alone has none, because its phases have their own."""
        if not isinstance(self.pipeline, Pipeline):
            return None
        return Outlook(self.pipeline, self.draft.store, self.span.stop, self.span.force)

    def _run_steps(self, run_step: RunStep, progress: RunProgress) -> tuple[list[Spec], list[StageRun]]:
        """Run every step; returns the requests and what happened to each. `done` keeps the latter across walks."""
        specs: list[Spec] = []
        stage_runs: list[StageRun] = []
        for step in self.pipeline.walk(self.draft.store, self.span.stop):
            spec, self.stage, self.label = step.spec, step.spec.stage, step.label
            _refuse_early(step, self.draft.store, self.span.start)
            self.draft.note_begun(spec, step.label)
            progress.begin_step(step)
            happened = run_step(step, self.draft.store, spec.stage in self.span.force)
            progress.end_step(happened, required(spec, self.draft.store).stats.get("taught", 0))
            if happened.status == "cached":
                progress.note(f"{step.label}: cached")
            key = step.label, happened.fingerprint
            if happened.status != "cached" or key not in self.done:
                self.done[key] = happened
            specs.append(spec)
            stage_runs.append(self.done[key])
            self.draft.note_finished(stage_runs)
            self.on_step(specs, stage_runs)
        return specs, stage_runs


def _refuse_early(step: Step, store: Store, start: str) -> None:
    """Refuse a step before stage `start` that is not in the store."""
    early = STAGES.index(step.spec.stage) < STAGES.index(start) and step.spec.round == 1
    if early and finished(step.spec, store) is None:
        raise ConfigError(f"--from {start} needs {step.label} in the store; run without --from to make it")
