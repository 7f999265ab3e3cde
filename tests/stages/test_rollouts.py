"""Rollouts of problems that do not fit into the model's context."""

from __future__ import annotations

from ssb_core.config import RolloutsConfig
from ssb_core.progress import Progress
from ssb_core.records import Problem
from ssb_core.stages import rollouts
from tests.support.fakes import FakeSampler, says


def test_a_prompt_beyond_the_context_is_stored_and_never_sampled() -> None:
    sampler = FakeSampler(lambda prompt, seed: says("\\boxed{7}"), context=60)
    spec = rollouts.Spec.model_construct(rollouts=RolloutsConfig(samples=2, max_new_tokens=40), few_shot=())
    short, long = Problem("p", "What is 3 + 4?", "7"), Problem("long", "x" * 50, "7")
    ((_, rows),) = rollouts.sample(sampler, [("shard", [short, long])], spec, Progress())
    assert [(r.problem_id, r.finish_reason, len(r.prompt_ids)) for r in rows] == [
        *[("p", "stop", len(short.question))] * 2,
        *[("long", "too_long", 50)] * 2,
    ]
    assert all(r.completion_ids == () and r.text == "" for r in rows[2:])
