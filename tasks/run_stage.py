"""Running a step of the pipeline as a Prefect task that is cached by its fingerprint.

A cached result is used only while the manifest that it names is valid.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from prefect import get_run_logger
from prefect.context import FlowRunContext, TaskRunContext

from ssb_core.progress import Progress
from ssb_core.runs import StageRun
from ssb_core.runs.pipeline import Step
from ssb_core.stages import Spec, delete, finished, required
from ssb_core.stages.isolation import StageRunner
from ssb_core.store import Store

from .progress import artifact_progress
from .ray_workers import ray_shard_maker
from .stages import WAITS, StageTask, stage_task


class PrefectRunner:
    """Runs the steps of one flow run, each as a task run. A loaded engine goes from one step to the next."""

    def __init__(self, runner: StageRunner, progress: Progress) -> None:
        self.runner = runner
        self.progress = progress
        self.tasks: dict[str, StageTask] = {}

    def __call__(self, step: Step, store: Store, force: bool) -> StageRun:
        """Run a step's task, or take its cached result, and return its entry."""
        spec = step.spec
        if force:
            delete(spec, store, _flow_began())
        manifest = finished(spec, store)
        started = time.monotonic()
        state: Any = self._task(spec.stage).with_options(
            task_run_name=step.label,
            refresh_cache=manifest is None,
            result_storage=store.layout.results.absolute(),
        )(spec.dump(), store.location, spec.fingerprint, return_state=True)
        result = state.result()
        seconds = time.monotonic() - started
        made = 0 if state.name == "Cached" else result["made"]
        return StageRun.of(spec, step.label, required(spec, store), made, result["reused"], seconds)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the processes here: Prefect pickles the running task into the context of tasks on Ray."""
        return _idle_runner, ()

    def _task(self, stage: str) -> StageTask:
        if stage not in self.tasks:
            self.tasks[stage] = stage_task(stage, self._execute)
        return self.tasks[stage]

    def _execute(self, dumped: dict[str, Any], location: str) -> dict[str, Any]:
        """The body of every task."""
        spec, store, tries = Spec.load(dumped), Store.at(location), TaskRunContext.get()
        if tries and tries.task_run.run_count > 1:
            self.progress.note(f"{tries.task_run.name}: try {tries.task_run.run_count} of {1 + len(WAITS)}")
        with artifact_progress(spec.stage, self.progress) as progress:
            self.runner.write = get_run_logger().info  # the log of its process belongs to this task run
            outcome = self.runner.execute(spec, store, progress)
        return {"made": outcome.made, "reused": outcome.reused, "manifest": outcome.manifest.key}


def _idle_runner() -> PrefectRunner:
    """The runner's substitute in the context of a task on Ray, which does not use it."""
    return PrefectRunner(StageRunner(), Progress())


@contextmanager
def prefect_runner(progress: Progress) -> Iterator[PrefectRunner]:
    """A runner for the steps of this flow run. Its processes, engine and Ray workers end with the block."""
    with ray_shard_maker() as make_shards, StageRunner(get_run_logger().info, make_shards) as runner:
        yield PrefectRunner(runner, progress)


def _flow_began() -> float:
    """The Unix time when the flow run began: a retry keeps what its earlier tries made, even if it is forced."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    began = (run.start_time or run.expected_start_time or run.created) if run else None
    return began.timestamp() if began else math.inf
