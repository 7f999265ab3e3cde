"""The Prefect task of every stage, by the stage's name. A task with the tag ``gpu`` loads a model.

Prefect's own cache policies do not fit: their keys contain the run id, or do not depend on the task. Here the key is
the stage's fingerprint, and results are a few builtins that are stored inside the store.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from prefect import Task
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext

from ssb_core.errors import may_pass

StageTask = Task[..., dict[str, Any]]
Execute = Callable[[dict[str, Any], str], dict[str, Any]]
"""Runs a dumped spec in the store at a location; returns how many shards (or steps) were made and reused."""

WAITS = (2, 15, 60)  # seconds before each further try of a stage

DESCRIPTIONS = {
    "rollouts": "Sample K answers of the base model to each bare question.",
    "select": "Verify every rollout, and pick a correct and a majority-wrong one for each mixed problem.",
    "teach": "Write a robust solution from the hint, verify it, and capture its exact signal.",
    "distill": "Train a LoRA student to match the teacher from the bare question.",
    "sft": "Train the same student by cross-entropy on the taught solutions.",
    "rft": "Train the same student by cross-entropy on its own correct rollouts.",
    "ssb-no-wrong": "Train the same student on the signal of a teacher that saw no wrong rollout.",
    "grpo": "Train the same student by reinforcement learning, with the verifier as reward (TRL).",
    "merge": "Merge a student's adapter into its base, for another round.",
    "evaluate": "Sample and grade one model on one held-out benchmark.",
}


def stage_task(stage: str, execute: Execute) -> StageTask:
    """The task of a stage. A failure that may pass is tried again, after a longer wait each time."""

    def run(spec: dict[str, Any], store: str, fingerprint: str) -> dict[str, Any]:
        return execute(spec, store)

    return Task(
        run,
        name=stage,
        description=DESCRIPTIONS[stage],
        tags=["ssb"] if stage == "select" else ["ssb", "gpu"],
        cache_key_fn=_key,
        persist_result=True,
        result_serializer="json",
        retries=len(WAITS),
        retry_delay_seconds=list(WAITS),
        retry_jitter_factor=0.2,
        retry_condition_fn=_may_pass,
    )


def _may_pass(task: Task[..., Any], run: TaskRun, state: State[Any]) -> bool:
    """Whether another try may succeed: a fault that a user has to fix is not tried again."""
    return may_pass(state.result(raise_on_failure=False))


def _key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    return f"{context.task.name}-{parameters['fingerprint']}"
