"""How a stage becomes a Prefect task that is cached by its fingerprint.

Prefect's own key policies do not fit: they hold the run id, or ignore which task is meant. Here the key is the stage's
fingerprint, results are a few builtins stored inside the store, and a cached result is believed only while the manifest
it speaks of verifies.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from prefect import Task, get_run_logger
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext

from ssb_core import stages
from ssb_core.errors import may_pass
from ssb_core.progress import PlainProgress, Progress
from ssb_core.runs import StageRun
from ssb_core.stages.isolation import Host
from ssb_core.store import Store

from .progress import artifact_progress
from .ray_workers import crew

listener: ContextVar[Progress | None] = ContextVar("listener", default=None)
_host: ContextVar[Host | None] = ContextVar("host", default=None)
StageTask = Task[..., dict[str, Any]]

WAITS = (2, 15, 60)  # seconds before each further try of a stage


def stage_task(stage: str, description: str, *tags: str) -> StageTask:
    """The Prefect task of one stage; what may pass is tried again, after waiting longer each time."""

    def execute(spec: dict[str, Any], store: str, fingerprint: str) -> dict[str, Any]:
        return _execute(stage, spec, Store.at(store))

    return Task(
        execute,
        name=stage,
        description=description,
        tags=["ssb", *tags],
        cache_key_fn=_key,
        persist_result=True,
        result_serializer="json",
        retries=len(WAITS),
        retry_delay_seconds=list(WAITS),
        retry_jitter_factor=0.2,
        retry_condition_fn=_may_pass,
    )


def _may_pass(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether a failure is worth another try: what somebody has to mend is not."""
    return may_pass(state.result(raise_on_failure=False))


def _key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    return f"{context.task.name}-{parameters['fingerprint']}"


def _execute(stage: str, raw: dict[str, Any], store: Store) -> dict[str, Any]:
    module = stages.module(stage)
    spec = module.Spec.model_validate(raw)
    tries = TaskRunContext.get()
    if tries and tries.task_run.run_count > 1:
        _progress().note(f"{tries.task_run.name}: try {tries.task_run.run_count} of {1 + len(WAITS)}")
    with hosting() as host, artifact_progress(stage, _progress()) as progress:
        host.tell = get_run_logger().info  # what its process logs belongs to this task run
        outcome = host.execute(spec, store, progress)
    return {"made": outcome.made, "reused": outcome.reused, "manifest": outcome.manifest.key}


@contextmanager
def hosting() -> Iterator[Host]:
    """The host of the stages within this block, and their workers; a loaded engine goes from one to the next."""
    if host := _host.get():
        yield host
        return
    with Host(get_run_logger().info) as host, crew():
        token = _host.set(host)
        try:
            yield host
        finally:
            _host.reset(token)


def _progress() -> Progress:
    return listener.get() or PlainProgress(get_run_logger().info)


def tell(text: str) -> None:
    """A line to whoever listens to the run."""
    _progress().note(text)


def _asked() -> float:
    """When the flow run began: a retry does not make again what its earlier tries made, though it is forced."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    began = (run.start_time or run.expected_start_time or run.created) if run else None
    return began.timestamp() if began else math.inf


def run_stage(task: StageTask, spec: stages.Spec, store: Store, label: str, force: bool = False) -> StageRun:
    """Run a stage's task, or take its cached result, and say which of the two happened."""
    manifest = stages.finished(spec, store)
    if force:
        stages.forget(spec, store, _asked())
        manifest = stages.finished(spec, store)
    started = time.monotonic()
    state: Any = task.with_options(
        task_run_name=label,
        refresh_cache=manifest is None,
        result_storage=store.root.absolute() / "results",
    )(spec.model_dump(mode="json"), store.location, spec.fingerprint, return_state=True)
    result = state.result()
    seconds = time.monotonic() - started
    manifest = stages.required(spec, store)
    cached = state.name == "Cached" or result["made"] == 0
    made, reused = (0, manifest.units) if cached else (result["made"], result["reused"])
    if cached:
        _progress().note(f"{label}: cached")
    return StageRun(
        stage=spec.stage,
        label=label,
        recipe=manifest.recipe,
        fingerprint=manifest.fingerprint,
        status="cached" if cached else "resumed" if reused else "ran",
        seconds=round(seconds, 2),
        made=made,
        reused=reused,
        rows=manifest.rows,
        round=spec.round,
        **spec.names,
    )
