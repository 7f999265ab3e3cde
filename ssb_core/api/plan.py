"""The plan of a run before any work, and the checks of `ssb doctor` on what the run needs."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .. import models
from ..config import RunConfig
from ..doctor import Check, DoctorContext, before_run, examine
from ..runs.amounts import UNKNOWN
from ..runs.pipeline import Pipeline
from ..runs.plan import PlanRow
from ..runs.plan import plan as plan_rows
from ..store import Store


@dataclass(frozen=True, slots=True)
class CheckedPlan:
    """The requests of a run, and the checks of its input that did not pass: warnings, and problems that prevent it."""

    rows: list[PlanRow]
    checks: list[Check]

    @property
    def problems(self) -> list[Check]:
        """The checks that prevent the run."""
        return [c for c in self.checks if c.status == "problem"]


def plan(config: RunConfig, store: Store | Path | str = "store") -> list[PlanRow]:
    """The requests of a run in order: the status of each, the reason for it, and the work that is left.

    Nothing is changed. The size of what was never made is estimated only if the model's files are on this machine.

    Raises:
        ConfigError: the model, the problems or a benchmark cannot be read.
    """
    store = store if isinstance(store, Store) else Store.at(str(store))
    pipeline = Pipeline.of(config, store.root)
    return plan_rows(pipeline, store, load_shape=partial(shape_if_here, pipeline.model))


def shape_if_here(model: models.ResolvedModel) -> models.Shape | None:
    """The sizes of a model; None if it would have to be downloaded or converted."""
    return models.shape(model) if models.is_here(model) else None


def checked_plan(config: RunConfig, store: Store, stop: str = "evaluate", force: Collection[str] = ()) -> CheckedPlan:
    """The plan up to stage `stop`, with the checks that `ssb doctor` makes of what is left to do.

    If everything is in the store, nothing has to be checked.

    Raises:
        ConfigError: the model, the problems or a benchmark cannot be read.
        StoreError: another version of ssb wrote the store.
    """
    store.check(write=False)
    context = DoctorContext(store, config)
    with store.looking_once():
        pipeline = Pipeline.of(config, store.root)
        lay_out = partial(plan_rows, pipeline, store, stop=stop, force=force)
        rows = lay_out(load_shape=partial(shape_if_here, pipeline.model))
        if all(row.status == "cached" for row in rows):
            return CheckedPlan(rows, [])
        checks = [check for group, check in examine(before_run(context)) if _is_news(group, check)]
        if context.shape is None and any(check.status == "problem" for check in checks):
            checks = [c for c in checks if c.name != "disk" or c.status == "problem"]  # no estimate, for that reason
        if any(row.amounts.bytes == UNKNOWN for row in rows):  # the doctor reads only the small files of such a model
            rows = lay_out(load_shape=lambda: context.shape)
    return CheckedPlan(rows, checks)


def _is_news(group: str, check: Check) -> bool:
    """Whether a check has to be shown. `preflight.notes` lists unverifiable problems already."""
    return check.status == "problem" or (check.status == "warning" and (group != "data" or check.name == "target"))
