"""The problems that earlier rows in the store are of, compared with those of a planned request.

Sidecars have the ids of a shard's problems, and a shard's name is a digest of their content.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ..config import ProblemsConfig
from ..problems import ProblemSet, load_problems
from ..stages import Spec, evaluate, lineage, rollouts
from ..stages.baselines import grpo
from ..store import UNREADABLE, Recipe, Sidecar, Store

SIDECARS = 64  # of a recipe that are read, spread over all
WHOLE_SET = {"skip": 0, "limit": None, "distinct": False, "shuffle_seed": None}


class EarlierProblems:
    """Problem ids of the recipes in a store. Each is read once."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._shards = lru_cache(maxsize=None)(self._read)
        self._others = lru_cache(maxsize=None)(self._of_other_set)

    def of_other_set(self, recipe: Recipe, spec: Spec) -> tuple[str, ...]:
        """Ids of the recipe's problems, if none of them is in the problem set of `spec`."""
        return self._others(recipe.stage, recipe.hash, _problems_config(spec))

    def _of_other_set(self, stage: str, recipe: str, config: ProblemsConfig) -> tuple[str, ...]:
        ids = {i for shard in self._shards(stage, recipe) for i in shard}
        wanted = (config, config.model_copy(update=WHOLE_SET))  # the second is read only if it has to be
        if not ids or any(p.id in ids for c in wanted for p in load_problems(c)):
            return ()
        return tuple(sorted(ids))

    def within_set(self, recipe: Recipe, spec: Spec) -> tuple[Literal["missing", "stale"], str]:
        """The status of a request whose recipe has shards of other problems of the same set, and the reason."""
        shards, field = self._shards(recipe.stage, recipe.hash), problems_field(spec)
        if not shards:
            return "missing", f"never run on these problems ({field})"
        problems, selection = _problems(spec), f"{field}: skip, limit, distinct, shuffle_seed"
        selection += "; evaluate.limit" if isinstance(spec, evaluate.Spec) else ""
        ids = {p.id for p in problems}
        if not any(i in ids for shard in shards for i in shard):
            return "missing", f"never run on these problems; the store has others of this set ({selection})"
        own = {tuple(p.id for p in chunk) for chunk in problems.chunks(spec.execution.shard_size)}
        if own.intersection(shards):
            return (
                "stale",
                f"the problems have other questions or answers now ({field}: source, question, answer, form)",
            )
        return "stale", f"the problems are selected or sharded otherwise ({selection}; execution.shard_size)"

    def _read(self, stage: str, recipe: str) -> Sequence[tuple[str, ...]]:
        """The problem ids of some shards of a recipe."""
        folder = self.store.layout.recipe(stage, recipe).shards
        paths = sorted(folder.glob("*.json"))
        return [ids for path in paths[:: max(1, len(paths) // SIDECARS)] if (ids := _ids(path))]


def problems_field(spec: Spec) -> str:
    """The configuration's name of the problem set that a request is of."""
    return f"evaluate.benchmarks[{spec.benchmark.name}]" if isinstance(spec, evaluate.Spec) else "problems"


def _problems_config(spec: Spec) -> ProblemsConfig:
    source = _source(spec)
    return source.benchmark if isinstance(source, evaluate.Spec) else source.problems


def _problems(spec: Spec) -> ProblemSet:
    source = _source(spec)
    return source.load_problem_set() if isinstance(source, evaluate.Spec) else source.load_wave()


def _source(spec: Spec) -> evaluate.Spec | grpo.Spec | rollouts.Spec:
    """The request that reads the problems: this one, or the one that it builds on."""
    if isinstance(spec, evaluate.Spec):
        return spec
    return next(s for s in lineage(spec) if isinstance(s, grpo.Spec | rollouts.Spec))


def _ids(sidecar: Path) -> tuple[str, ...]:
    try:
        return Sidecar.read(sidecar).problem_ids
    except UNREADABLE:
        return ()
