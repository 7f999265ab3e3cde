"""The flow ``ssb``: waves of rollouts, select and teach, then distill, then evaluate.

It decides order and nothing else: requests come from `ssb_core.runs.pipeline`, work is done by tasks, and what happened
is read back from manifests.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from ssb_core import report
from ssb_core.config import RunConfig
from ssb_core.config.execution import StageName
from ssb_core.errors import ConfigError, Damaged
from ssb_core.results.summary import summarise
from ssb_core.runs import Run, StageRun
from ssb_core.runs.pipeline import Pipeline, Request
from ssb_core.stages import STAGES, Spec, finished
from ssb_core.store import Store
from tasks import ray_workers, storyteller
from tasks import run_stage as caching
from tasks.stages import TASKS

from . import preflight

MENDS = 3
"""How often the same file of the store may turn out to be damaged: a run begins again then, with what is cached."""


def run_name() -> str:
    """What the UI calls the run: preset, model and data, the stages if not all, its folder if it was named."""
    given = flow_run.parameters
    config = RunConfig.model_validate(given["config"])
    model, data = (Path(s).name for s in (config.model.source, config.problems.source))
    first, last = given["from_stage"], given["to_stage"]
    part = "" if (first, last) == (STAGES[0], STAGES[-1]) else f", {first} to {last}" if first != last else f", {last}"
    own = f" ({given['name']})" if given["name"] else ""
    return f"{given['preset']}: {model} on {data}{part}{own}"


@flow(
    name="ssb",
    flow_run_name=run_name,
    description="Semantic Soft Bootstrapping: rollouts, select, teach, distill, evaluate.",
)
def ssb(
    *,  # in the order of the form in the UI, where the configuration is pages long
    from_stage: StageName = StageName.rollouts,
    to_stage: StageName = StageName.evaluate,
    force: tuple[StageName, ...] = (),
    name: str | None = None,
    preset: str = "custom",
    config: RunConfig,
    store: str = "store",
    runs: str = "runs",
) -> dict[str, Any]:
    """Run the pipeline, or the part of it from one stage to another, and return its summary.

    Args:
        from_stage: Take everything before this stage from the store, or refuse.
        to_stage: Stop after this stage.
        force: Make these stages again though they are cached.
        name: Folder of the run below `runs`; by default preset and a digest of the configuration.
        preset: What the configuration is called, in names and tables.
        config: What is run. The defaults are the paper's, or what suits its stage.
        store: Where results are kept and reused: a directory, relative to the worker's SSB_HOME, or a URL (s3://...).
        runs: Where the run's report and summary go, relative to the worker's SSB_HOME.
    """
    started = time.monotonic()
    name = preflight.name_of(name, preset, config)
    preflight.refuse_bad_part(from_stage, to_stage, force)
    ray_workers.refuse_unheard(config.execution)
    held = Store.at(store)
    pipeline = preflight.refuse_bad_input(config, held, Path(runs), from_stage)
    run = Run(Path(runs) / name, held)
    for line in preflight.notes(config, str(run.directory / "report.html"), to_stage):
        get_run_logger().warning(line)
    run.begin(config)

    done: dict[str, StageRun] = {}
    with storyteller.telling(run, pipeline, force, to_stage) as teller:
        damaged: Counter[str] = Counter()
        while True:
            try:
                specs = walk(run, pipeline, from_stage, to_stage, force, teller, done)
                ran = [done[spec.fingerprint] for spec in specs]
                summary = summarise(name, preset, held, specs, ran, time.monotonic() - started)
                run.finish(ran, summary)
                report.write(run)
                break
            except Damaged as e:
                damaged[e.what] += 1
                if damaged[e.what] == MENDS:
                    raise
                caching.tell(f"{e.what}: set aside, and made again now")
        teller.end()
    return summary


def walk(
    run: Run,
    pipeline: Pipeline,
    from_stage: str,
    to_stage: str,
    force: Collection[str],
    teller: storyteller.Storyteller,
    done: dict[str, StageRun],
) -> list[Spec]:
    """Run every request in its order and return them; `done` says by fingerprint what happened to each in this run."""
    specs: list[Spec] = []
    with caching.hosting():
        for request in pipeline.walk(run.store, to_stage):
            spec = request.spec
            refuse_early(request, run.store, from_stage)
            task = TASKS[spec.stage]
            run.start(spec, request.label)
            happened = caching.run_stage(task, spec, run.store, request.label, spec.stage in force)
            if happened.status != "cached" or spec.fingerprint not in done:
                done[spec.fingerprint] = happened
            specs.append(spec)
            ran = [done[s.fingerprint] for s in specs]
            run.note(ran)
            teller.go_on(specs, ran)
    return specs


def refuse_early(request: Request, store: Store, start: str) -> None:
    """Refuse a request before stage `start` that is not in the store.

    Raises:
        ConfigError: it would have to be made, which ``--from`` forbids.
    """
    before = STAGES.index(request.spec.stage) < STAGES.index(start) and request.spec.round == 1
    if before and finished(request.spec, store) is None:
        raise ConfigError(f"--from {start} needs {request.label} in the store; run without --from to make it")
