"""Speeds, lengths and yields of a model, measured on its earlier requests in a store."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from ..store import Manifest, Recipe, work
from .recipes import Recipes, flatten

Sums = defaultdict[str, float]


@dataclass(frozen=True, slots=True)
class Measured:
    """Sums over earlier requests: ``rows``, ``bytes``, ``passes`` of training, and the numbers of their manifests.

    `timed` sums only over requests of which the time is known, and has their ``seconds`` too.
    """

    sums: Sums
    timed: Sums

    def per(self, unit: str, name: str) -> float | None:
        """The mean of `name` for each `unit`; None if nothing was measured."""
        return self.sums[name] / self.sums[unit] if self.sums[unit] else None

    def seconds_per(self, unit: str) -> float | None:
        """The mean time for each `unit`; None if nothing was measured."""
        return self.timed["seconds"] / self.timed[unit] if self.timed[unit] and self.timed["seconds"] else None


class Rates:
    """What the store knows of one model. Requests that another engine sampled count only if this one has none."""

    def __init__(self, recipes: Recipes, model: str, engine: str) -> None:
        self.recipes, self.model, self.engine = recipes, model, engine
        self.of = lru_cache(maxsize=None)(self._measure)

    def _measure(self, stage: str, part: str = "") -> Measured:
        """The sums over all requests of one stage, or of one part of it."""
        stored = (r for r in self.recipes.stored(stage).values() if r.content.get("part", "") == part)
        own = {r.hash: (r, list(self.recipes.manifests(r))) for r in stored if self.recipes.model(r) == self.model}
        same = {h: (r, [m for m in ms if _is_by(m, self.engine)]) for h, (r, ms) in own.items()}
        chosen = same if any(ms for _, ms in same.values()) else own
        measured = [self._sums(recipe, manifests) for recipe, manifests in chosen.values() if manifests]
        return Measured(_total(measured), _total(m for m in measured if m["seconds"]))

    def _sums(self, recipe: Recipe, manifests: list[Manifest]) -> Sums:
        """Sums over the requests of one recipe. A shard that several of them have counts once."""
        files = {f.path: f for m in manifests for f in m.files}
        rows, listed = sum(f.rows for f in files.values()), sum(f.rows for m in manifests for f in m.files)
        share, store, sums = rows / listed if listed else 1.0, self.recipes.store, _empty()
        for name, value in (item for m in manifests for item in m.stats.items()):
            if isinstance(value, int | float) and abs(value) < 2**63:
                sums[name] += value * share
        sums["requests"], sums["rows"] = len(manifests), rows
        sums["bytes"] = sum(f.bytes for f in files.values())
        sums["seconds"] = sum(work.read_seconds(store, recipe, m.fingerprint) for m in manifests)
        batch_size = flatten(recipe.content).get("distill.batch_size", 1)
        sums["passes"] = sums["steps"] * (batch_size if isinstance(batch_size, int) else 1)
        return sums


def _is_by(manifest: Manifest, engine: str) -> bool:
    """Whether the engine made the request, or any engine if it is chosen automatically."""
    engines = manifest.stats.get("engines")
    return engine == "auto" or not engines or any(str(e).startswith(engine) for e in engines)


def _empty() -> Sums:
    return defaultdict(float)


def _total(sums: Iterable[Sums]) -> Sums:
    total = _empty()
    for name, value in (item for one in sums for item in one.items()):
        total[name] += value
    return total
