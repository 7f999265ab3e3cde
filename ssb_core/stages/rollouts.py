"""Stage rollouts: K answers of the base model to each bare question (paper, section 3.1).

One row per rollout. A problem whose prompt does not fit the model's context has no rows; select drops it by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from .. import problems, prompts
from ..config import ProblemsConfig, RolloutsConfig
from ..engines import Request, Sampler, open_sampler, seed_for
from ..models import ResolvedModel
from ..progress import Progress
from ..records import Problem, Rollout, schema, to_rows
from ..store import Store, digest
from . import Input, Outcome, run_shards, shard_inputs
from . import Spec as BaseSpec

if TYPE_CHECKING:
    import pyarrow as pa


class Spec(BaseSpec):
    """Rollouts for problems `start` to `stop` of a problem set."""

    stage: ClassVar[str] = "rollouts"
    version: ClassVar[int] = 1
    model: ResolvedModel
    problems: ProblemsConfig
    start: int
    stop: int
    rollouts: RolloutsConfig

    def how(self) -> dict[str, Any]:
        return {
            "model": self.model.recipe,
            "prompt": digest(prompts.tutor_messages("")),
            "rollouts": self.rollouts.model_dump(),
        }

    def inputs(self) -> list[str]:
        return [problems.content_digest(self.wave)]

    @property
    def wave(self) -> tuple[Problem, ...]:
        """The problems asked for."""
        return problems.load(self.problems)[self.start : self.stop]


def sample(sampler: Sampler, wanted: Sequence[Problem], config: RolloutsConfig, progress: Progress) -> list[Rollout]:
    """`config.samples` rollouts of each problem that fits the context, in order."""
    prompt_ids = {p.id: sampler.encode(prompts.tutor_messages(p.question)) for p in wanted}
    asked = [
        (p.id, i, Request(prompt_ids[p.id], seed_for("rollouts", config.seed, p.id, i)))
        for p in wanted
        if sampler.fits(prompt_ids[p.id], config)
        for i in range(config.samples)
    ]
    completions = sampler.sample([r for _, _, r in asked], config, progress)
    return [
        Rollout(problem_id, i, r.prompt_ids, c.completion_ids, c.text, c.finish_reason, r.seed)
        for (problem_id, i, r), c in zip(asked, completions, strict=True)
    ]


def facts(table: pa.Table) -> dict[str, Any]:
    """Counts of samples, of tokens, and of samples that hit the token cap."""
    import pyarrow.compute as pc

    return {
        "samples": table.num_rows,
        "tokens": pc.sum(pc.list_value_length(table["completion_ids"])).as_py() or 0,
        "truncated": pc.sum(pc.equal(table["finish_reason"], "length")).as_py() or 0,
    }


def run(spec: Spec, store: Store, progress: Progress) -> Outcome:
    """Sample every shard that is not in the store yet."""
    import pyarrow as pa

    inputs = shard_inputs(spec.wave, spec.execution.shard_size)

    def make(missing: Sequence[Input]) -> Iterator[pa.Table]:
        each = spec.rollouts.samples
        left = sum(len(i.problems) for i in missing)
        progress.begin("rollouts", len(spec.wave) * each, "samples", (len(spec.wave) - left) * each)
        with open_sampler(spec.model, spec.execution) as sampler:
            for item in missing:
                rows = sample(sampler, item.problems, spec.rollouts, progress)
                yield pa.Table.from_pylist(to_rows(rows), schema(Rollout))
        progress.end()

    return run_shards(spec, store, inputs, make, ["completion_ids", "finish_reason"], facts)
