"""Semantic Soft Bootstrapping (arXiv 2512.05105): better reasoning without reinforcement learning.

    import ssb_core

    config = ssb_core.load_preset("quickstart", "problems.limit=64", "target_traces=24")
    run = ssb_core.run(config, store="store", directory="runs/first")
    for score in ssb_core.read_summary(run).scores:
        print(score.benchmark, score.model, score.accuracy, score.ci95)

Everything in ``__all__`` is public; docs/python-api.md shows how it is used. A name is imported when it is first used,
so that ``import ssb_core`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from . import openmp as openmp  # first of all: what it sets has to precede torch

if TYPE_CHECKING:
    from .api.evaluate import evaluate
    from .api.history import problem_history, show
    from .api.load import load_config, load_preset
    from .api.plan import plan
    from .api.run import run
    from .api.sample import sample
    from .config import RunConfig
    from .config.presets import preset_names
    from .errors import ConfigError, Damaged, EngineError, SSBError, StageError, StoreError, Unreachable
    from .progress import CallbackProgress, PlainProgress, Progress
    from .records import BenchmarkScore, Completion, PairedDifference, Problem, Verdict
    from .results.problem_history import ProblemHistory
    from .results.typed_summary import Summary, read_summary
    from .runs import Run
    from .store import Store
    from .verify import Verifier

_HOMES = {
    "api.evaluate": ("evaluate",),
    "api.history": ("problem_history", "show"),
    "api.load": ("load_config", "load_preset"),
    "api.plan": ("plan",),
    "api.run": ("run",),
    "api.sample": ("sample",),
    "config": ("RunConfig",),
    "config.presets": ("preset_names",),
    "errors": ("ConfigError", "Damaged", "EngineError", "SSBError", "StageError", "StoreError", "Unreachable"),
    "progress": ("CallbackProgress", "PlainProgress", "Progress"),
    "records": ("BenchmarkScore", "Completion", "PairedDifference", "Problem", "Verdict"),
    "results.problem_history": ("ProblemHistory",),
    "results.typed_summary": ("Summary", "read_summary"),
    "runs": ("Run",),
    "store": ("Store",),
    "verify": ("Verifier",),
}
_home_of = {name: home for home, names in _HOMES.items() for name in names}

__all__ = (
    "BenchmarkScore",
    "CallbackProgress",
    "Completion",
    "ConfigError",
    "Damaged",
    "EngineError",
    "PairedDifference",
    "PlainProgress",
    "Problem",
    "ProblemHistory",
    "Progress",
    "Run",
    "RunConfig",
    "SSBError",
    "StageError",
    "Store",
    "StoreError",
    "Summary",
    "Unreachable",
    "Verdict",
    "Verifier",
    "evaluate",
    "load_config",
    "load_preset",
    "plan",
    "preset_names",
    "problem_history",
    "read_summary",
    "run",
    "sample",
    "show",
)


def __getattr__(name: str) -> Any:
    if name not in _home_of:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_home_of[name]}"), name)


def __dir__() -> list[str]:
    return sorted((*globals(), *__all__))
