"""Baseline grpo: reinforcement learning from verdicts (Shao et al. 2024, arXiv 2402.03300), as TRL implements it.

The student sees the prompts of SSB's rollouts, with their worked examples if there are any: a student that cannot box
an answer would never be rewarded. It answers each prompt as often as the base does in rollouts. A correct verdict gives
the reward 1, any other 0. So one epoch over the same problems costs as many samples as SSB's rollouts. The stats count
problems and generated tokens, so that both budgets can be compared.

`ssb_core.training.grpo_trainer` says which settings are TRL's and which are ours. Training goes on from its last whole
checkpoint, which holds the states of the random generators: a resumed student ends with the bits of an uninterrupted
one. TRL trains here in one process and samples with transformers, whatever `execution` says of either.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, ClassVar, Literal

import numpy as np

from ... import models, prompts, verify
from ...config import Example, GrpoConfig, ProblemsConfig
from ...errors import ConfigError, StoreError
from ...models import ResolvedModel
from ...problems import ProblemSet, load_problems, load_unchanged
from ...records import Problem
from ...store import Store, digest, work
from ...training import checkpoints
from ...training.job import TrainingJob
from ...training.log import read_log
from .. import distill
from ..directory import TrainedSpec, commit_training
from ..execute import Outcome
from ..runtime import Runtime


class Spec(TrainedSpec):
    """A student that is rewarded for its answers to problems `start` to `stop` of a problem set."""

    stage: ClassVar[str] = "grpo"
    version: ClassVar[int] = 2
    method: Literal["grpo"] = "grpo"
    model: ResolvedModel
    problems: ProblemsConfig
    start: int
    stop: int
    problems_digest: str
    grpo: GrpoConfig
    lora_rank: int
    lora_alpha: int
    few_shot: tuple[Example, ...] = ()

    def recipe_content(self) -> dict[str, Any]:
        return {
            "model": self.model.recipe,
            "prompt": digest(prompts.tutor_messages("", self.few_shot)),
            "verify": {**verify.versions(), "form": self.problems.completion_form},
            "grpo": self.grpo.recipe,
            "lora": {"rank": self.lora_rank, "alpha": self.lora_alpha},
        }

    def inputs(self) -> list[str]:
        return [self.problems_digest]

    def load_wave(self) -> ProblemSet:
        """Read the problems to train on.

        Raises:
            ConfigError: they changed since the request was made.
        """
        return load_unchanged(self.problems, self.problems_digest, self.start, self.stop)

    @property
    def labels(self) -> dict[str, Any]:
        return {"model": self.method, "seed": self.grpo.seed}

    @property
    def job(self) -> TrainingJob:
        """The training, for the process that does it."""
        return TrainingJob(
            label=self.stage,
            model=self.model,
            settings=self.grpo,
            lora_rank=self.lora_rank,
            lora_alpha=self.lora_alpha,
            execution=self.execution,
        )


def of(ssb: distill.Spec, config: GrpoConfig) -> Spec:
    """The baseline's request for comparison with the student `ssb`: the same base, and all problems sampled for it."""
    sampled = [request.solutions.select.rollouts for request in ssb.teach]
    first, last = sampled[0], sampled[-1]
    return Spec(
        model=first.model,
        problems=first.problems,
        start=first.start,
        stop=last.stop,
        problems_digest=load_problems(first.problems).part(first.start, last.stop).content_digest(),
        grpo=config,
        lora_rank=ssb.distill.lora_rank,
        lora_alpha=ssb.distill.lora_alpha,
        few_shot=first.few_shot,
        execution=ssb.execution,
    )


def refuse_missing_trl() -> None:
    """Refuse to train without TRL, which only an extra installs.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("trl") is None:
        raise ConfigError(
            "baseline grpo: trl is not installed\n  remedy: pip install -c constraints.txt -e '.[baselines]'"
        )


def schedule(problems: Sequence[Problem], config: GrpoConfig) -> list[Problem]:
    """The problems in the order of training: another order in every epoch, whole steps only."""
    epochs = [np.random.default_rng([config.seed, e]).permutation(len(problems)) for e in range(config.epochs)]
    order = np.concatenate(epochs)
    return [problems[i] for i in order[: len(order) - len(order) % config.prompts_per_step]]


def encode(spec: Spec, problems: Sequence[Problem]) -> dict[str, tuple[int, ...]]:
    """Prompts by problem id, token for token those of rollouts; without those that leave no room for a completion."""
    tokenizer, room = models.load_tokenizer(spec.model), models.context_length(spec.model) - spec.grpo.max_new_tokens
    encoded = {p.id: prompts.encode(tokenizer, prompts.tutor_messages(p.question, spec.few_shot)) for p in problems}
    return {problem_id: ids for problem_id, ids in encoded.items() if len(ids) <= room}


def run(spec: Spec, store: Store, runtime: Runtime) -> Outcome:
    """Train, from the last checkpoint if there is one, and commit the adapter."""
    refuse_missing_trl()
    wave = spec.load_wave()
    prompt_ids = encode(spec, wave)
    if dropped := len(wave) - len(prompt_ids):
        runtime.progress.note(f"grpo: {dropped} problems are too long for the model's context and left out")
    scheduled = schedule([p for p in wave if p.id in prompt_ids], spec.grpo)
    if not scheduled:
        raise StoreError(
            f"{len(prompt_ids)} problems are too few for one step of grpo.prompts_per_step "
            f"({spec.grpo.prompts_per_step}); lower that, or sample more problems (problems.limit)"
        )
    store.prepare(spec.recipe)
    work_dir = work.work_dir(store, spec.recipe, spec.fingerprint, digest([]))
    checkpoint = checkpoints.last(work_dir)
    shutil.rmtree(work_dir / "result", ignore_errors=True)
    runtime.engines.release()
    with verify.Verifier(spec.problems.completion_form) as verifier:
        from ...training.grpo_trainer import train

        train(
            spec.job, scheduled, prompt_ids, verifier, store.backend.upload_part, work_dir, checkpoint, runtime.progress
        )
    stats = count(read_log(work_dir / "result"), len({p.id for p in scheduled}))
    return commit_training(spec, store, work_dir, stats, checkpoints.step(checkpoint))


def count(log: Sequence[dict[str, Any]], problems: int) -> dict[str, Any]:
    """Budgets (problems, generated tokens), and the mean reward over the first and the last tenth of the steps."""
    tenth = max(1, len(log) // 10)
    rewards = [row["reward"] for row in log]
    return {
        "steps": len(log),
        "problems": problems,
        "tokens": log[-1]["tokens"],
        "first_reward": float(np.mean(rewards[:tenth])),
        "last_reward": float(np.mean(rewards[-tenth:])),
    }
