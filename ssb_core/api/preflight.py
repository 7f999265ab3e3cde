"""Checks before a run, the same for library, command line and flow: its name, its stages, its input."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from .. import engines, problems
from ..config import ProblemsConfig, RunConfig
from ..errors import ConfigError, StoreError, Unreachable
from ..evaluation import benchmarks
from ..models import pick_device
from ..records import Rejection
from ..results import wording
from ..runs.pipeline import Pipeline
from ..runs.plan import PlanRow, plan
from ..stages import STAGES
from ..store import Store, obstacle_to_writing
from ..suggest import did_you_mean


def run_name(name: str | None, preset: str, config: RunConfig) -> str:
    """The given name, or `preset` and a digest of the configuration: the same command means the same run.

    Raises:
        ConfigError: the name cannot be that of a folder.
    """
    if name is None:
        fields = config.model_dump_json(exclude={"execution"})
        name = f"{preset}-{hashlib.sha256(fields.encode()).hexdigest()[:6]}"
    if not (0 < len(name) <= 100 and name.isprintable()) or name.startswith(".") or any(c in name for c in "/\\"):
        raise ConfigError(
            f"--name {name!r}: a run's name names a folder: no slashes, no dot in front, up to 100 printable letters"
        )
    return name


def refuse_bad_stages(start: str, stop: str, force: Sequence[str]) -> None:
    """Refuse unknown stages, --from after --to, and --force outside of them.

    Raises:
        ConfigError: there is no such stage, or they do not fit together.
    """
    for stage in (start, stop, *force):
        if stage not in STAGES:
            raise ConfigError(
                f"there is no stage {stage!r}; stages are {', '.join(STAGES)}{did_you_mean(stage, STAGES)}"
            )
    if STAGES.index(start) > STAGES.index(stop):
        raise ConfigError(f"--from {start} comes after --to {stop}")
    for stage in force:
        if stage not in STAGES[STAGES.index(start) : STAGES.index(stop) + 1]:
            raise ConfigError(f"--force {stage} is outside of --from {start} --to {stop}")


def headline(name: str, config: RunConfig, store: Store) -> str:
    """The first line of a run: its name, model, device, engine and store."""
    execution = config.execution
    auto = execution.engine == "auto"
    device = pick_device("auto") if execution.device == "auto" else execution.device
    engine = engines.choose(execution).engine if auto else execution.engine
    return f"run {name}: model {config.model.source}, device {device}, engine {engine}, store {store}"


def refuse_unwritable(store: Store, directory: Path) -> None:
    """Refuse a store, or a folder of a run, in which no file can be created. Nothing is left there.

    Raises:
        ConfigError: a file is in the way, permissions or credentials are missing, or the disk is read-only.
    """
    try:
        store.check()
    except Unreachable:
        raise  # it may answer the next time
    except StoreError as e:
        raise ConfigError(f"--store: {e}") from None
    refuse_unwritable_run(directory)


def refuse_unwritable_run(directory: Path) -> None:
    """Refuse a folder of a run in which no file can be created. Nothing is left there.

    Raises:
        ConfigError: a file is in the way, permissions are missing, or the disk is read-only.
    """
    if obstacle := obstacle_to_writing(directory):
        raise ConfigError(f"--runs: {obstacle}\n  remedy: choose another folder with --runs DIR")


def refuse_missing(rows: Iterable[PlanRow], store: Store, start: str) -> None:
    """Refuse --from if a stage before it is not whole in the store.

    Raises:
        ConfigError: the first request of such a stage, with its status.
    """
    for row in rows:
        if row.status != "cached" and row.round == 1 and row.stage in STAGES[: STAGES.index(start)]:
            raise ConfigError(
                f"--from {start}: {row.label} is not in {store} ({row.status}{': ' + row.why if row.why else ''})\n"
                "  remedy: run without --from, or see `ssb plan`"
            )


def refuse_bad_input(config: RunConfig, store: Store, directory: Path, start: str) -> Pipeline:
    """The pipeline of the run with the folder `directory`, if it can run.

    Raises:
        ConfigError: bad folders or data, --from without the stages before it, or a model that cannot do the rest.
    """
    refuse_unwritable(store, directory)
    pipeline = Pipeline.of(config, store.root)
    missing = [row for row in plan(pipeline, store, estimate=False) if row.status != "cached"]
    refuse_missing(missing, store, start)
    if missing:
        pipeline.check_model()
    return pipeline


def notes(config: RunConfig, where: str, stop: str = "evaluate") -> Iterator[str]:
    """A line for every problem set with unverifiable problems, and for every contaminated benchmark.

    `where` says where the whole lists are.
    """
    limited = config.evaluate.limited_benchmarks() if stop == "evaluate" else ()
    sets: dict[str, ProblemsConfig] = {config.problems.source: config.problems}
    yield from unverifiable_notes(sets | {f"benchmark {b.name}": b for b in limited}, where)
    for b in limited:
        overlap = {"overlap": benchmarks.contaminated_ids(config.problems, b)}
        if warning := wording.contamination_warning(b.name, overlap):
            yield f"warning: {warning} The whole list: {where}"


def unverifiable_notes(sets: Mapping[str, ProblemsConfig], where: str) -> Iterator[str]:
    """A line for every problem set, by its name, that has unverifiable problems."""
    for name, problem_set in sets.items():
        if rejections := problems.rejections(problem_set):
            yield f"note: {_unverifiable(name, rejections, where)}"


def _unverifiable(name: str, rejections: Sequence[Rejection], where: str) -> str:
    """The number of problems of a set that are left out, and the first few ids with their reasons."""
    first = ", ".join(f"{r.problem_id!r:.60} ({r.reason})" for r in rejections[:3])
    rest = f"; the whole list: {where}" if len(rejections) > 3 else f"; see {where}"
    return (
        f"{name}: {wording.count(len(rejections), 'problem')} left out, reference answer cannot be used: {first}{rest}"
    )
