"""Baseline grpo: reinforcement learning from verdicts (Shao et al. 2024, arXiv 2402.03300), as TRL implements it.

The student sees the prompts of SSB's rollouts (with their worked examples, where there are any: a student that cannot
box an answer would never be rewarded), answers each as often, and is rewarded with 1 for a correct verdict, else 0. One
epoch over the same problems therefore costs as many samples as SSB's rollouts; the facts count problems and generated
tokens, so that both budgets can be compared.

What is TRL's and what is ours, `grpo_trainer` says. Training goes on from its last whole checkpoint, which holds the
states of the random generators: a resumed student ends with the bits of an uninterrupted one. TRL trains here in one
process and samples with transformers, whatever `execution` says of either.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from ... import models, problems, prompts, verify
from ...config import Example, GrpoConfig, ProblemsConfig
from ...engines import release
from ...errors import ConfigError, StoreError
from ...models import ResolvedModel
from ...problems.problem_set import ProblemSet
from ...progress import Progress
from ...records import Problem
from ...store import Store, digest
from ...store import work as unfinished
from ...training import checkpoints
from .. import Outcome, distill


class Spec(distill.Trained):
    """A student rewarded for its answers to problems `start` to `stop` of a problem set."""

    stage: ClassVar[str] = "grpo"
    version: ClassVar[int] = 2
    method: Literal["grpo"] = "grpo"
    model: ResolvedModel
    problems: ProblemsConfig
    start: int
    stop: int
    grpo: GrpoConfig
    lora_rank: int
    lora_alpha: int
    few_shot: tuple[Example, ...] = ()

    def how(self) -> dict[str, Any]:
        return {
            "model": self.model.recipe,
            "prompt": digest(prompts.tutor_messages("", self.few_shot)),
            "verify": {**verify.versions(), "form": self.problems.completion_form},
            "grpo": self.grpo.recipe,
            "lora": {"rank": self.lora_rank, "alpha": self.lora_alpha},
        }

    def inputs(self) -> list[str]:
        return [problems.content_digest(self.wave)]

    @property
    def wave(self) -> ProblemSet:
        """The problems asked for."""
        return problems.load_problems(self.problems).part(self.start, self.stop)

    @property
    def names(self) -> dict[str, Any]:
        return {"model": self.method, "seed": self.grpo.seed}


def of(ssb: distill.Spec, config: GrpoConfig) -> Spec:
    """What is compared with the student `ssb`: the same base on all problems that were sampled for it."""
    sampled = [request.solutions.select.rollouts for request in ssb.teach]
    first, last = sampled[0], sampled[-1]
    return Spec(
        model=first.model,
        problems=first.problems,
        start=first.start,
        stop=last.stop,
        grpo=config,
        lora_rank=ssb.distill.lora_rank,
        lora_alpha=ssb.distill.lora_alpha,
        few_shot=first.few_shot,
        execution=ssb.execution,
    )


def refuse_missing() -> None:
    """Refuse to train without TRL, which only an extra installs.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec("trl") is None:
        raise ConfigError(
            "baseline grpo: trl is not installed\n  remedy: pip install -c constraints.txt -e '.[baselines]'"
        )


def schedule(askable: Sequence[Problem], config: GrpoConfig) -> list[Problem]:
    """The problems in the order in which they are asked, in another order in every epoch, whole steps only."""
    epochs = [np.random.default_rng([config.seed, e]).permutation(len(askable)) for e in range(config.epochs)]
    order = np.concatenate(epochs)
    return [askable[i] for i in order[: len(order) - len(order) % config.prompts_per_step]]


def encode(spec: Spec) -> dict[str, tuple[int, ...]]:
    """Prompts by problem id, token for token those of rollouts; without those that leave no room for a completion."""
    tokenizer, room = models.load_tokenizer(spec.model), models.context_length(spec.model) - spec.grpo.max_new_tokens
    encoded = {p.id: prompts.encode(tokenizer, prompts.tutor_messages(p.question, spec.few_shot)) for p in spec.wave}
    return {problem_id: ids for problem_id, ids in encoded.items() if len(ids) <= room}


def run(spec: Spec, store: Store, progress: Progress) -> Outcome:
    """Train, or go on training, and commit the adapter."""
    refuse_missing()
    prompt_ids = encode(spec)
    if dropped := len(spec.wave) - len(prompt_ids):
        progress.note(f"grpo: {dropped} problems are too long for the model's context and left out")
    asked = schedule([p for p in spec.wave if p.id in prompt_ids], spec.grpo)
    if not asked:
        raise StoreError(
            f"{len(prompt_ids)} problems fill no step of grpo.prompts_per_step ({spec.grpo.prompts_per_step}); lower "
            "that, or sample more problems (problems.limit)"
        )
    store.open(spec.recipe)
    work = unfinished.work(store, spec.recipe, spec.fingerprint, digest([]))
    checkpoint = checkpoints.last(work)
    shutil.rmtree(work / "result", ignore_errors=True)
    release()
    train(spec, store, asked, prompt_ids, work, checkpoint, progress)
    log = distill.read_log(work / "result")
    return distill.commit(spec, store, work, facts(log, len({p.id for p in asked})), checkpoints.step(checkpoint))


def train(
    spec: Spec,
    store: Store,
    asked: Sequence[Problem],
    prompt_ids: dict[str, tuple[int, ...]],
    work: Path,
    checkpoint: Path | None,
    progress: Progress,
) -> None:
    """Train on the problems `asked`, in their order; the adapter and its log are then in ``work/result``."""
    from ...training.grpo_trainer import Trainer

    with verify.Verifier(spec.problems.completion_form) as verifier:
        trainer = Trainer(spec, asked, prompt_ids, verifier, work, progress)
        trainer.keep = store.there.keep
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    student: Any = trainer.model
    student.save_pretrained(work / "result" / "adapter")
    rows = log_rows(trainer.state.log_history)
    (work / "result" / distill.LOG).write_text("".join(json.dumps(row) + "\n" for row in rows))


def log_rows(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each optimiser step: means over its samples, but `tokens`, which are all generated so far."""
    keep = ("step", "loss", "reward", "grad_norm", "kl", "learning_rate")
    rows, tokens = [], 0
    for row in history:
        if "loss" in row:
            tokens += round(row["tokens"])
            kept = {k: row[k] for k in keep if k in row}
            rows.append(kept | {"mean_length": row["completions/mean_length"], "tokens": tokens})
    return rows


def facts(log: Sequence[dict[str, Any]], asked: int) -> dict[str, Any]:
    """Budgets (problems, generated tokens), and the mean reward over the first and the last tenth of the steps."""
    tenth = max(1, len(log) // 10)
    rewards = [row["reward"] for row in log]
    return {
        "steps": len(log),
        "problems": asked,
        "tokens": log[-1]["tokens"],
        "first_reward": float(np.mean(rewards[:tenth])),
        "last_reward": float(np.mean(rewards[-tenth:])),
    }
