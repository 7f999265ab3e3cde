"""Stage rollouts: K answers of the base model to each bare question (paper, section 3.1).

There is one row for each rollout. If the prompt does not fit into the model's context, the problem's rows hold the
prompt and no answer, and select drops the problem as ``too_long``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import SerializeAsAny, field_serializer, field_validator

from .. import prompts
from ..config import Example, ProblemsConfig, RolloutsConfig
from ..engines import K, Sampler, SampleRequest, requests_for
from ..models import ResolvedModel
from ..problems import ProblemSet, load_unchanged
from ..progress import Progress
from ..records import Problem, Rollout
from ..store import Store, digest
from .directory import weights
from .execute import Outcome, required
from .runtime import Input, Runtime, ShardPlan
from .sampling import Sampled, sample_and_grade
from .shards import run_shards, sampled_table, shard_inputs
from .spec import Spec as BaseSpec

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(BaseSpec):
    """Rollouts for problems `start` to `stop` of a problem set. `problems_digest` names their content."""

    stage: ClassVar[str] = "rollouts"
    version: ClassVar[int] = 3
    can_fan_out: ClassVar[bool] = True
    model: ResolvedModel
    problems: ProblemsConfig
    start: int
    stop: int
    problems_digest: str
    rollouts: RolloutsConfig
    few_shot: tuple[Example, ...] = ()
    merged: SerializeAsAny[BaseSpec] | None = None
    """The request that makes `model`, in rounds after the first."""

    @field_validator("merged", mode="before")
    @classmethod
    def _load_merged(cls, value: Any) -> Any:
        return BaseSpec.load(value) if isinstance(value, dict) else value

    @field_serializer("merged")
    def _dump_merged(self, value: BaseSpec | None) -> dict[str, Any] | None:
        return value.dump() if value else None

    @property
    def round(self) -> int:
        return self.merged.round + 1 if self.merged else 1

    def recipe_content(self) -> dict[str, Any]:
        return {
            "model": self.model.recipe,
            "prompt": digest(prompts.tutor_messages("", self.few_shot)),
            "rollouts": self.rollouts.model_dump(),
        }

    def inputs(self) -> list[str]:
        return [self.problems_digest]

    def load_wave(self) -> ProblemSet:
        """Read the problems of the request.

        Raises:
            ConfigError: they changed since the request was made.
        """
        return load_unchanged(self.problems, self.problems_digest, self.start, self.stop)

    @property
    def engine_key(self) -> str:
        return self.model.identity


def sample(
    sampler: Sampler, shards: Iterable[tuple[K, Sequence[Problem]]], spec: Spec, progress: Progress
) -> Iterator[tuple[K, list[Rollout]]]:
    """The rollouts of every shard's problems, in order. Shards come as they get done."""
    config = spec.rollouts

    def ask(problem: Problem) -> list[SampleRequest]:
        messages = prompts.tutor_messages(problem.question, spec.few_shot)
        return requests_for(sampler, messages, "rollouts", config.seed, problem.id, config.samples)

    for key, samples in sample_and_grade(sampler, shards, ask, config, progress):
        yield key, [_rollout(s) for s in samples]


def _rollout(sample: Sampled[Problem]) -> Rollout:
    request, c = sample.request, sample.completion
    prompt_ids, seed = request.prompt_ids, request.seed
    return Rollout(
        problem_id=sample.item.id,
        index=sample.index,
        prompt_ids=prompt_ids,
        completion_ids=c.completion_ids,
        text=c.text,
        finish_reason=c.finish_reason,
        seed=seed,
    )


def count(table: pa.Table) -> dict[str, int]:
    """Numbers of samples, of their tokens, and of samples that reached the token cap."""
    import pyarrow.compute as pc

    return {
        "samples": pc.sum(pc.not_equal(table["finish_reason"], "too_long")).as_py() or 0,
        "tokens": pc.sum(pc.list_value_length(table["completion_ids"])).as_py() or 0,
        "truncated": pc.sum(pc.equal(table["finish_reason"], "length")).as_py() or 0,
    }


def plan_shards(spec: Spec, store: Store, runtime: Runtime) -> ShardPlan:
    """Shards of sampled rollouts."""
    progress = runtime.progress
    merged = weights(required(spec.merged, store)) if spec.merged else None
    inputs = shard_inputs(spec.load_wave(), spec.execution.shard_size, merged)

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        with runtime.engines.open(spec.model, spec.execution, note=progress.note) as sampler:
            for item, rows in sample(sampler, ((i, i.problems) for i in missing), spec, progress):
                yield item, sampled_table(rows, Rollout, sampler)

    def samples(item: Input) -> int:
        return len(item.problems) * spec.rollouts.samples

    return ShardPlan(inputs, make, "rollouts", "samples", samples, ["completion_ids", "finish_reason"], count)


def run(spec: Spec, store: Store, runtime: Runtime) -> Outcome:
    """Sample every shard that is not in the store yet."""
    return run_shards(spec, store, plan_shards(spec, store, runtime), runtime)
