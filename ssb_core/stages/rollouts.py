"""Stage rollouts: K answers of the base model to each bare question (paper, section 3.1).

One row per rollout. Where the prompt does not fit the model's context, its rows hold it and no answer; select drops
the problem by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import SerializeAsAny, field_validator

from .. import problems, prompts
from ..config import Example, ProblemsConfig, RolloutsConfig
from ..engines import K, Request, Sampler, complete, draws, open_sampler
from ..models import ResolvedModel
from ..problems.problem_set import ProblemSet
from ..progress import Progress
from ..records import Problem, Rollout
from ..store import Store, digest
from .shards import Input, Work, run_shards, sampled_table, shard_inputs
from .spec import Outcome, required
from .spec import Spec as BaseSpec

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(BaseSpec):
    """Rollouts for problems `start` to `stop` of a problem set."""

    stage: ClassVar[str] = "rollouts"
    version: ClassVar[int] = 3
    fans_out: ClassVar[bool] = True
    model: ResolvedModel
    problems: ProblemsConfig
    start: int
    stop: int
    rollouts: RolloutsConfig
    few_shot: tuple[Example, ...] = ()
    merged: SerializeAsAny[BaseSpec] | None = None
    """The request that makes `model`, in rounds after the first."""

    @field_validator("merged", mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        from . import merge  # which stands on students, and so on rollouts

        return merge.Spec.model_validate(value) if isinstance(value, dict) else value

    @property
    def round(self) -> int:
        return self.merged.round + 1 if self.merged else 1

    def how(self) -> dict[str, Any]:
        return {
            "model": self.model.recipe,
            "prompt": digest(prompts.tutor_messages("", self.few_shot)),
            "rollouts": self.rollouts.model_dump(),
        }

    def inputs(self) -> list[str]:
        return [problems.content_digest(self.wave)]

    @property
    def wave(self) -> ProblemSet:
        """The problems asked for."""
        return problems.load_problems(self.problems).part(self.start, self.stop)

    @property
    def samples_with(self) -> str:
        return self.model.identity


def sample(
    sampler: Sampler, shards: Iterable[tuple[K, Sequence[Problem]]], spec: Spec, progress: Progress
) -> Iterator[tuple[K, list[Rollout]]]:
    """The rollouts of every shard's problems, in order; shards as they get done."""
    config = spec.rollouts

    def ask(problem: Problem) -> list[Request]:
        shown = prompts.tutor_messages(problem.question, spec.few_shot)
        return draws(sampler, shown, "rollouts", config.seed, problem.id, config.samples)

    groups = (((key, wanted), [r for p in wanted for r in ask(p)]) for key, wanted in shards)
    for (key, wanted), completed in complete(sampler, groups, config, progress):
        names = product((p.id for p in wanted), range(config.samples))
        yield (
            key,
            [
                Rollout(problem_id, i, r.prompt_ids, c.completion_ids, c.text, c.finish_reason, r.seed)
                for (problem_id, i), (r, c) in zip(names, completed, strict=True)
            ],
        )


def facts(table: pa.Table) -> dict[str, int]:
    """Counts of samples, of tokens, and of samples that hit the token cap."""
    import pyarrow.compute as pc

    return {
        "samples": pc.sum(pc.not_equal(table["finish_reason"], "too_long")).as_py() or 0,
        "tokens": pc.sum(pc.list_value_length(table["completion_ids"])).as_py() or 0,
        "truncated": pc.sum(pc.equal(table["finish_reason"], "length")).as_py() or 0,
    }


def work(spec: Spec, store: Store, progress: Progress) -> Work:
    """Shards of sampled rollouts."""
    weights = None
    if spec.merged:
        from . import distill  # which stands on this stage

        weights = distill.weights(required(spec.merged, store))
    inputs = shard_inputs(spec.wave, spec.execution.shard_size, weights)

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        with open_sampler(spec.model, spec.execution, note=progress.note) as sampler:
            for item, rows in sample(sampler, ((i, i.problems) for i in missing), spec, progress):
                yield item, sampled_table(rows, Rollout, sampler)

    def samples(item: Input) -> int:
        return len(item.problems) * spec.rollouts.samples

    return Work(inputs, make, "rollouts", "samples", samples, ["completion_ids", "finish_reason"], facts)


def run(spec: Spec, store: Store, progress: Progress) -> Outcome:
    """Sample every shard that is not in the store yet."""
    return run_shards(spec, store, work(spec, store, progress), progress)
