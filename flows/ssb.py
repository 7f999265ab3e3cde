"""The flow ``ssb``: waves of rollouts, select and teach, then distill, then evaluate.

`ssb_core.api.run` walks the pipeline, as it does for the library; here each step is a Prefect task, and pages of the
run are published as it goes.
"""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.runtime import flow_run

from ssb_core.api import preflight
from ssb_core.api.run import Span, run_pipeline
from ssb_core.config import RunConfig, presets
from ssb_core.config.execution import StageName
from ssb_core.errors import ConfigError
from ssb_core.progress import PlainProgress, Progress
from ssb_core.runs import Run
from ssb_core.stages import STAGES
from ssb_core.store import Store
from tasks import ray_workers, storyteller, tags
from tasks.run_stage import prefect_runner

listener: ContextVar[Progress | None] = ContextVar("listener", default=None)
"""The terminal of a run that the command line started. A flow's parameters must be JSON, so it cannot be one."""


def run_name() -> str:
    """The run's name in the UI: its folder (which tells its settings), model and data, and the stages if not all."""
    given = flow_run.parameters
    try:
        config = _config(given["preset"], given["config"])
    except ConfigError:
        return str(given["preset"])  # the run itself says what is wrong
    first, last = given["from_stage"], given["to_stage"]
    part = "" if (first, last) == (STAGES[0], STAGES[-1]) else f", {first} to {last}" if first != last else f", {last}"
    model, data = _subject(config)
    return f"{given['name'] or preflight.run_name(None, given['preset'], config)}: {model} on {data}{part}"


def _subject(config: RunConfig) -> tuple[str, str]:
    """Short names of model and data."""
    model, data = (Path(s).name for s in (config.model.source, config.problems.source))
    return model, data


def _config(preset: str, config: RunConfig | None) -> RunConfig:
    """The configuration of the run, by default that of the preset.

    Raises:
        ConfigError: there is no such preset, or the configuration cannot be used.
    """
    return presets.load_config(preset) if config is None else RunConfig.model_validate(config)


def _progress() -> Progress:
    """The run's listener. The flow must not read `listener` itself: Prefect pickles what the flow reads."""
    return listener.get() or PlainProgress(get_run_logger().info)


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
    preset: str,
    config: RunConfig | None = None,
    store: str = "store",
    runs: str = "runs",
) -> dict[str, Any]:
    """Run the pipeline, or the part of it from one stage to another, and return its summary.

    Args:
        from_stage: Take everything before this stage from the store, or refuse.
        to_stage: Stop after this stage.
        force: Make these stages again though they are cached.
        name: Folder of the run below `runs`; by default preset and a digest of the configuration.
        preset: A preset that ships with ssb (paper, quickstart, smollm2), or your name for the configuration below.
        config: The configuration of the run. By default it is that of the preset.
        store: The place of all results: a directory, relative to the worker's SSB_HOME, or a URL (s3://...).
        runs: The folder of the run's report and summary, relative to the worker's SSB_HOME.
    """
    progress = _progress()
    config = _config(preset, config)
    tags.set_own(*tags.of_run(preset, *_subject(config)))
    name = preflight.run_name(name, preset, config)
    preflight.refuse_bad_stages(from_stage, to_stage, force)
    ray_workers.refuse_unreachable_server(config.execution)
    run = Run(Path(runs) / name, Store.at(store))
    with run.store.looking_once():
        pipeline = preflight.refuse_bad_input(config, run.store, run.directory, from_stage)
        get_run_logger().info(preflight.headline(name, config, run.store))
        for line in preflight.notes(config, str(run.directory / "report.html"), to_stage):
            get_run_logger().warning(line)
        with storyteller.publishing(run, pipeline, force, to_stage) as teller:
            span = Span(from_stage, to_stage, force)
            run_pipeline(run, preset, pipeline, span, prefect_runner, progress, teller.on_step)
            teller.end()
    return run.load_summary()
