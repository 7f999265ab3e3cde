"""A configuration under examination, and what was found out about it so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..config import ProblemsConfig, RunConfig

if TYPE_CHECKING:
    from ..models import ResolvedModel
    from ..runs.pipeline import Pipeline
    from ..store import Store

TRAINING = "to learn from"  # the name of the set beside those of benchmarks, none of which has a space
WIDTHS = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True, slots=True)
class Shape:
    """What of a model's architecture decides memory and disk."""

    parameters: int
    hidden_size: int
    vocabulary: int
    lora_width: int


@dataclass(slots=True)
class Patient:
    """What is examined, and what was found out that later examinations need."""

    store: Store
    config: RunConfig
    model: ResolvedModel | None = None
    shape: Shape | None = None
    sets: dict[str, int] = field(default_factory=dict)

    @property
    def wanted(self) -> dict[str, ProblemsConfig]:
        """Every problem set of the configuration by its name."""
        return {TRAINING: self.config.problems} | {b.name: b for b in self.config.evaluate.limited_benchmarks()}

    def pipeline(self) -> Pipeline | None:
        """The run's requests, if the model and every problem set are there."""
        from .. import problems
        from ..runs.pipeline import Pipeline

        if self.model is None or self.wanted.keys() - self.sets:
            return None
        return Pipeline(self.config, self.model, problems.load_problems(self.config.problems))
