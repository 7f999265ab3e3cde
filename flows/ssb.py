"""The flow ``ssb``: waves of rollouts, select and teach, then distill, then evaluate.

It decides order and nothing else: requests come from `ssb_core.pipeline`, work is done by tasks, and what happened is
read back from manifests.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from prefect import flow

from ssb_core import report
from ssb_core.config import ConfigError, RunConfig
from ssb_core.pipeline import Pipeline, Request
from ssb_core.runs import Run, StageRun
from ssb_core.stages import STAGES, Spec, finished
from ssb_core.store import Store
from ssb_core.summary import summarise
from tasks import caching, story
from tasks import distill as distill_task
from tasks import evaluate as evaluate_task
from tasks import grpo as grpo_task
from tasks import merge as merge_task
from tasks import rft as rft_task
from tasks import rollouts as rollouts_task
from tasks import select as select_task
from tasks import sft as sft_task
from tasks import ssb_no_wrong as ssb_no_wrong_task
from tasks import teach as teach_task

TASKS: dict[str, Any] = {
    "rollouts": rollouts_task,
    "select": select_task,
    "teach": teach_task,
    "distill": distill_task,
    "sft": sft_task,
    "rft": rft_task,
    "ssb-no-wrong": ssb_no_wrong_task,
    "grpo": grpo_task,
    "merge": merge_task,
    "evaluate": evaluate_task,
}


@flow(
    name="ssb",
    flow_run_name="{name}",
    description="Semantic Soft Bootstrapping: rollouts, select, teach, distill, evaluate.",
)
def ssb(
    config: RunConfig,
    store: str = "store",
    runs: str = "runs",
    name: str = "ssb",
    preset: str = "custom",
    from_stage: str = "rollouts",
    to_stage: str = "evaluate",
    force: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Run the pipeline, or the part of it from one stage to another, and return its summary."""
    started = time.monotonic()
    pipeline, held = Pipeline.of(config, Path(store)), Store(Path(store))
    run = Run(Path(runs) / name, held)
    run.begin(config)

    ran: list[StageRun] = []
    specs: list[Spec] = []
    teller = story.Storyteller(run)
    teller.begin(pipeline, force, to_stage)
    with caching.hosting():
        for request in pipeline.walk(held, to_stage):
            refuse_early(request, held, from_stage)
            task = getattr(TASKS[request.spec.stage], request.spec.stage.replace("-", "_"))
            ran.append(caching.run_stage(task, request.spec, held, request.label, request.spec.stage in force))
            specs.append(request.spec)
            run.note(ran)
            teller.go_on(specs)

    summary = summarise(name, preset, held, specs, ran, time.monotonic() - started)
    run.finish(ran, summary)
    report.write(run)
    teller.end()
    return summary


def refuse_early(request: Request, store: Store, start: str) -> None:
    """Refuse a request before stage `start` that is not in the store.

    Raises:
        ConfigError: it would have to be made, which ``--from`` forbids.
    """
    before = STAGES.index(request.spec.stage) < STAGES.index(start) and request.spec.round == 1
    if before and finished(request.spec, store) is None:
        raise ConfigError(f"--from {start} needs {request.label} in the store; run without --from to make it")
