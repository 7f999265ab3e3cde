"""The plan of a run: which requests are in the store, why the others are not, and what they will take."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby

from ..models import Shape
from ..stages import STAGES, Spec, lineage, rollouts, select, teach, upstreams
from ..store import Store
from .amounts import NOTHING, Amounts, about, at_most
from .forecast import Forecast
from .pipeline import Pipeline, Step
from .reasons import PlanStatus, Reasons
from .remains import Remains


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One request of the plan. `why` gives the reason of the status, if there is more to say.

    `amounts` is the work that is left. The waves that a run may need after the ones that are known share one row.
    """

    stage: str
    label: str
    status: PlanStatus
    why: str = ""
    round: int = 1
    amounts: Amounts = NOTHING


def plan(
    pipeline: Pipeline,
    store: Store,
    *,
    load_shape: Callable[[], Shape | None] = lambda: None,
    stop: str = "evaluate",
    force: Collection[str] = (),
    estimate: bool = True,
) -> list[PlanRow]:
    """The requests of a run up to stage `stop`, in order, looked up in the store. Nothing is changed there.

    Requests of a stage in `force` have the status ``forced``. `load_shape` is called if the size of something that was
    never made has to be estimated; without the model's sizes that estimate is left out. Without `estimate`, no amounts
    are.
    """
    with store.looking_once():
        forecast = Forecast(pipeline, store, load_shape)
        steps = _known_steps(pipeline.walk(store, stop, forecast.count_taught), forecast)
        reasons, rows = Reasons(store, [step.spec for step in steps]), []
        row = partial(_row, reasons, forecast if estimate else None, force)
        for later, group in groupby(steps, key=partial(_later_label, forecast)):
            wave = list(group)
            made = [row(step.spec, later or step.label) for step in wave]
            rows += [_together(wave, made, forecast)] if later else made
        rest = "merge" in STAGES[: STAGES.index(stop) + 1] and steps[-1].spec.round < pipeline.config.rounds
        return [*rows, _later_rounds(steps, forecast)] if rest else rows


def _known_steps(steps: Iterable[Step], forecast: Forecast) -> list[Step]:
    """The steps up to the end of the first round whose yield is not known yet."""
    known: list[Step] = []
    for step in steps:
        if known and step.spec.round > (last := known[-1].spec.round) and forecast.known_until(last) < math.inf:
            break
        known.append(step)
    return known


def _later_rounds(steps: Sequence[Step], forecast: Forecast) -> PlanRow:
    """One row for all rounds after the known ones, each of which takes what the last one takes."""
    last, rounds = steps[-1].spec.round, forecast.config.rounds
    student = next(s.spec for s in steps if s.spec.round == last and s.spec.stage == "distill")
    own = {s.fingerprint for s in lineage(student) if s.round == last}
    repeated = [s.spec for s in steps if s.spec.fingerprint in own or student in upstreams(s.spec)]
    each = sum((forecast.amounts(spec, Remains(), again=True) for spec in repeated), NOTHING)
    label = f"round {rounds}" if last + 1 == rounds else f"rounds {last + 1:,} to {rounds:,}"
    estimate = each * (rounds - last) + Amounts(about(0), about(0), about(0), about(0))
    return PlanRow("merge", label, "waits", f"for the student of round {last:,}", last + 1, estimate)


def _later_label(forecast: Forecast, step: Step) -> str:
    """The label of the row that a step shares with others, if it belongs to a later wave; empty if it does not."""
    match step.spec:
        case rollouts.Spec() as sampled:
            hint = ""
        case select.Spec(rollouts=sampled):
            hint = ""
        case teach.Spec() as taught:
            sampled = taught.solutions.select.rollouts
            hint = "" if taught.solutions.show_wrong else " without the wrong rollout"
        case _:
            return ""
    round_ = f" (round {sampled.round})" if forecast.config.rounds > 1 else ""
    return f"later waves{hint}{round_}" if sampled.start >= forecast.known_until(sampled.round) else ""


def _row(reasons: Reasons, forecast: Forecast | None, force: Collection[str], spec: Spec, label: str) -> PlanRow:
    (status, why), found = reasons.of(spec, label)
    forced = spec.stage in force
    todo = forced or status != "cached"
    amounts = forecast.amounts(spec, found, again=forced) if forecast and todo else NOTHING
    return PlanRow(spec.stage, label, "forced" if forced else status, why, spec.round, amounts)


def _together(steps: Sequence[Step], rows: Sequence[PlanRow], forecast: Forecast) -> PlanRow:
    """One row for all later waves."""
    problems = {(r.start, r.stop) for step in steps for r in lineage(step.spec) if isinstance(r, rollouts.Spec)}
    n = max(stop for _, stop in problems) - forecast.known_until(rows[0].round)
    if forecast.taught_per_problem is None:
        why = f"at most {n:,} more problems, until {forecast.config.target_traces:,} traces are taught"
        mark = at_most
    else:
        why = f"about {n:,} more problems, if {forecast.taught_per_problem:.0%} of them teach a trace"
        mark = about
    amounts = sum((row.amounts for row in rows), NOTHING)
    return PlanRow("teach", rows[0].label, "waits", why, rows[0].round, amounts + Amounts(mark(0), mark(0), mark(0)))
