"""Stage teach: the hinted teacher writes a robust solution, and its exact signal at every token is captured.

It has two requests in a row, each with shards of its own: `Solutions` (sampled with the hint and verified) and `Spec`
(the base model's hidden states over hinted prompt + solution). So nothing is sampled again for another codec or
precision. A dropped solution keeps its row, with the reason and without a signal.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from .. import models
from ..config import Decoding, Example, TeachConfig
from ..records import TeacherTrace
from ..store import Store
from . import select, solutions
from .execute import Outcome, execute, required
from .runtime import Input, Runtime, ShardPlan
from .shards import downstream_inputs, run_shards
from .solutions import Solutions
from .spec import Spec as BaseSpec

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(BaseSpec):
    """The captured signal of one wave's solutions."""

    stage: ClassVar[str] = "teach"
    version: ClassVar[int] = 3
    part: ClassVar[str] = "signal"
    can_fan_out: ClassVar[bool] = True
    solutions: Solutions
    codec: str
    k: int
    temperature: float

    @classmethod
    def of(
        cls, selected: select.Spec, config: TeachConfig, temperature: float, few_shot: tuple[Example, ...] = ()
    ) -> Spec:
        """The request for the pairs of one selection; the student will be distilled at `temperature`."""
        decoding = Decoding.model_validate(config.recipe)
        execution = selected.execution
        written = Solutions(select=selected, decoding=decoding, few_shot=few_shot, execution=execution)
        return cls(solutions=written, codec=config.codec, k=config.k, temperature=temperature, execution=execution)

    @property
    def labels(self) -> dict[str, Any]:
        return {} if self.solutions.show_wrong else {"model": "ssb-no-wrong"}

    @property
    def model(self) -> models.ResolvedModel:
        """The teacher, which is the base model."""
        return self.solutions.select.rollouts.model

    def recipe_content(self) -> dict[str, Any]:
        return {"part": self.part, "solutions": self.solutions.recipe.hash, "codec": self.codec, **self.kept}

    @property
    def kept(self) -> dict[str, Any]:
        """The part of every distribution that a lossy codec keeps; empty for an exact one."""
        return {"k": self.k, "temperature": self.temperature} if self.codec == "topk" else {}

    def inputs(self) -> list[str]:
        return [self.solutions.fingerprint]


def run(spec: Spec | Solutions, store: Store, runtime: Runtime) -> Outcome:
    """Write the missing solutions. If the request is for signal, capture the missing shards of it."""
    if isinstance(spec, Solutions):
        return solutions.run(spec, store, runtime)
    execute(spec.solutions, store, runtime)
    return run_shards(spec, store, plan_shards(spec, store, runtime), runtime)


def plan_shards(spec: Spec | Solutions, store: Store, runtime: Runtime) -> ShardPlan:
    """Shards of one of the two requests; its upstream is finished."""
    if isinstance(spec, Solutions):
        return solutions.plan_shards(spec, store, runtime)
    written = required(spec.solutions, store)
    inputs = downstream_inputs(written, store, spec.solutions.select.rollouts.load_wave())

    def count_taught(item: Input) -> int:
        return select.count_kept(store.table(written, item.upstream, ["dropped"])) if item.upstream else 0

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        from ..signal import shards

        runtime.engines.release()
        model, tokenizer = models.load_model(spec.model, spec.execution.device), models.load_tokenizer(spec.model)
        metadata = shards.describe(model, tokenizer, identity=spec.model.identity, codec=spec.codec, kept=spec.kept)
        for item in missing:
            assert item.upstream
            traces = store.records(written, item.upstream, TeacherTrace)
            yield item, shards.signal_table(model, tokenizer, metadata, traces, spec.execution.capture_tokens)
            runtime.progress.advance(sum(t.dropped is None for t in traces))

    columns = ["dropped", "completion_ids"]
    return ShardPlan(inputs, make, "capture", "solutions", count_taught, columns, solutions.count)
