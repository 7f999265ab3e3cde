"""An evaluation without a pipeline: the requests that sample one model on benchmarks, with or without an adapter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .. import engines, models
from ..config import RunConfig
from ..stages import evaluate
from ..stages.baselines import Student
from ..store import Store
from .pipeline import Step, evaluation_caps, evaluations


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The requests for `model` on the benchmarks of a configuration.

    They have the weights of `student` on top, if a run trained it, or else those of the user's `adapter`, if any.
    """

    config: RunConfig
    model: models.ResolvedModel
    student: Student | None = None
    adapter: models.Adapter | None = None

    def specs(self) -> list[evaluate.Spec]:
        """One request for each benchmark.

        Raises:
            ConfigError: a benchmark cannot be read.
        """
        return evaluations(self.config, self.model, self.student, None if self.student else self.adapter)

    def walk(self, store: Store, stop: str = "evaluate") -> Iterator[Step]:
        """One step for each benchmark."""
        for spec in self.specs():
            yield Step(spec, f"evaluate {spec.model_name} on {spec.benchmark.name}")

    def check_model(self) -> None:
        """Try the model, the adapter and the engine without loading weights.

        Raises:
            ConfigError: one of them cannot be used, or a token cap leaves no room for the prompt.
        """
        models.check(self.model, self.config.execution.device, evaluation_caps(self.specs()))
        models.check_weights(self.model)
        if self.adapter:
            models.check_adapter(self.adapter, self.model)
        engines.check(self.config.execution)
