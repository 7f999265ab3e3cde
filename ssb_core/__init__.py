"""Semantic Soft Bootstrapping (arXiv 2512.05105): better reasoning without reinforcement learning.

    import ssb_core

    config = ssb_core.load_preset("quickstart", "problems.limit=64", "target_traces=24")
    run = ssb_core.run(config, store="store", directory="runs/first")
    for score in ssb_core.read_summary(run).scores:
        print(score.benchmark, score.model, score.accuracy, score.ci95)

Everything in ``__all__`` is public; docs/python-api.md shows how it is used. Names are imported when they are first
used, so that ``import ssb_core`` is instant.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .api.load import load_preset
    from .api.plan import plan
    from .api.run import run
    from .api.sample import sample
    from .config import RunConfig
    from .config.presets import load_config, preset_names
    from .errors import ConfigError, Damaged, EngineError, SSBError, StageError, StoreError, Unreachable
    from .progress import CallbackProgress, PlainProgress, Progress
    from .records import BenchmarkScore, Completion, PairedDifference, Problem, Verdict
    from .results.problem_history import problem_history
    from .results.summary import read_summary
    from .runs import Run
    from .store import Store
    from .verify import Verifier
