"""The plan of a run: which requests are cached, partial, missing, or stale because of which field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ..errors import StoreError
from ..stages import Spec, evaluate, finished, rollouts, upstreams
from ..stages.directory import DirectorySpec
from ..stages.execute import parts
from ..stages.shards import shard_inputs
from ..store import Store
from .pipeline import Pipeline

PlanStatus = Literal["cached", "partial", "missing", "stale", "waits"]


@dataclass(frozen=True, slots=True)
class PlanRow:
    """One request of the plan. `why` gives the reason of the status, if there is more to say."""

    stage: str
    label: str
    status: PlanStatus
    why: str = ""
    round: int = 1


def plan(pipeline: Pipeline, store: Store) -> list[PlanRow]:
    """The requests of a run in order, looked up in the store. Nothing is changed there."""
    with store.looking_once():
        return _rows(pipeline, store)


def _rows(pipeline: Pipeline, store: Store) -> list[PlanRow]:
    rows: list[PlanRow] = []
    try:
        for step in pipeline.walk(store):
            rows.append(_row(store, step.spec, step.label))
    except StoreError:  # the last wave is not taught yet, so the rest is not known
        if any(row.stage == "distill" for row in rows):
            rows.append(PlanRow("evaluate", "the rest", "waits", "for the yield", rows[-1].round))
            return rows
        rows.append(PlanRow("distill", "distill", "waits", "the number of waves depends on their yield"))
        rows += [_row(store, s, f"evaluate base on {s.benchmark.name}") for s in pipeline.evaluations(None)]
        rows += [PlanRow(name, name, "waits", "for the same yield") for name in pipeline.config.baselines]
        rows.append(PlanRow("evaluate", "evaluate ssb", "waits", "for the student"))
    return rows


def _row(store: Store, spec: Spec, label: str) -> PlanRow:
    return PlanRow(spec.stage, label, *_status(store, spec), spec.round)


def _status(store: Store, spec: Spec) -> tuple[PlanStatus, str]:
    if finished(spec, store):
        return "cached", ""
    names, stored = _shard_names(spec), store.shard_names(spec.recipe)
    if finished_shards := sum(name in stored for name in names):
        why = f"{finished_shards} of {len(names)} shards are there"
        return "partial", why + (", to be checked" if finished_shards == len(names) else "")
    if store.directory(spec.recipe).exists():
        return "missing", "never run on these inputs"
    changes = _nearest_changes(store, spec) if spec.round == 1 else []  # a later round's model is always another
    return ("stale", ", ".join(changes)) if changes else ("missing", "never run")


def _shard_names(spec: Spec) -> list[str]:
    """Names of a request's shards. A shard that is made from an upstream shard has the same name."""
    if isinstance(spec, evaluate.Spec):
        return [i.name for i in shard_inputs(spec.load_problem_set(), spec.execution.shard_size)]
    while not isinstance(spec, rollouts.Spec):
        if isinstance(spec, DirectorySpec):
            return []  # its result is one directory
        (spec,) = upstreams(spec)
    return [i.name for i in shard_inputs(spec.load_wave(), spec.execution.shard_size)]


def _nearest_changes(store: Store, spec: Spec) -> list[str]:
    """The differences, by field, of the recipe from the most similar one that was run here."""
    new = flatten(spec.recipe.content)
    differences = []
    for content in store.recipes(spec.stage):
        old = flatten(content)
        if old.get("part") == new.get("part"):
            differences.append([_change(k, old, new) for k in sorted(old | new) if old.get(k) != new.get(k)])
    changes = min(differences, key=len, default=[])
    # The parts of a stage have no row of their own in the plan.
    return [c for part in parts(spec) for c in _nearest_changes(store, part)] or changes


def flatten(content: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping by dotted path."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat


def _change(key: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    if key in ("rollouts", "select", "solutions", "teach", "student"):
        return f"{key} changed upstream"
    return f"{key}: {old.get(key)} -> {new.get(key)}"
