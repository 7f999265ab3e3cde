"""The plan of a run, before any work."""

from __future__ import annotations

from pathlib import Path

from ..config import RunConfig
from ..runs.pipeline import Pipeline
from ..runs.plan import PlanRow
from ..runs.plan import plan as plan_rows
from ..store import Store


def plan(config: RunConfig, store: Store | Path | str = "store") -> list[PlanRow]:
    """The requests of a run in order, each with its status and the reason for it. Nothing is changed.

    Raises:
        ConfigError: the model, the problems or a benchmark cannot be read.
    """
    store = store if isinstance(store, Store) else Store.at(str(store))
    return plan_rows(Pipeline.of(config, store.root), store)
