"""The configuration under examination, and the results of earlier examinations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..config import ProblemsConfig, RunConfig

if TYPE_CHECKING:
    from ..models import ResolvedModel, Shape
    from ..runs.pipeline import Pipeline
    from ..store import Store

TRAINING = "to learn from"  # the training set's name beside the names of benchmarks, which contain no space
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of one number by dtype."""


@dataclass(slots=True)
class DoctorContext:
    """The configuration under examination, and the findings that later examinations need.

    An examination fills in `model`, `shape` and `problem_counts` (by name of the set) if it succeeds.
    """

    store: Store
    config: RunConfig
    model: ResolvedModel | None = None
    shape: Shape | None = None
    problem_counts: dict[str, int] = field(default_factory=dict)

    @property
    def problem_sets(self) -> dict[str, ProblemsConfig]:
        """Every problem set of the configuration by its name."""
        return {TRAINING: self.config.problems} | {b.name: b for b in self.config.evaluate.limited_benchmarks()}

    def load_pipeline(self) -> Pipeline | None:
        """The run's requests, or None if the model or a problem set is missing."""
        from .. import problems
        from ..runs.pipeline import Pipeline

        if self.model is None or self.problem_sets.keys() - self.problem_counts:
            return None
        return Pipeline(self.config, self.model, problems.load_problems(self.config.problems))
