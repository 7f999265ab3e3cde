"""The configuration of a run: `RunConfig`, with one frozen section per stage.

Every field outside `execution` can change results, so it is part of a recipe (see `stages`). `Execution` says how the
work is done (device, batch size, shard size) and is never hashed. Unknown fields are refused. Users read the
descriptions of the fields in the form of Prefect's UI and in docs/configuration.md.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ..errors import ConfigError
from .execution import Execution
from .frozen import Section
from .inputs import Benchmark, ModelConfig, ProblemsConfig, PromptsConfig


class Decoding(Section):
    """The sampling of completions."""

    temperature: float = Field(ge=0, description="Sampling temperature; 0: greedy decoding.")
    top_k: int = Field(50, ge=0, description="Sample from the K most probable tokens; 0: from the whole vocabulary.")
    max_new_tokens: int = Field(
        1024, ge=1, description="Maximum number of tokens of one completion; a longer one is cut off."
    )
    seed: int = Field(
        0,
        ge=0,
        le=2**32 - 1,
        description="Seed of all draws; every problem and sample gets a random stream of its own from it.",
    )

    @property
    def recipe(self) -> dict[str, Any]:
        """The fields that decide what is sampled. They are hashed into recipes."""
        return self.model_dump(include=set(Decoding.model_fields))


class RolloutsConfig(Decoding):
    """Stage rollouts: answers of the base model to the bare question (paper: K=4, T=0.8, top-k 50)."""

    temperature: float = Field(
        0.8, ge=0, description="Sampling temperature; 0: greedy decoding, which gives the same rollout K times."
    )
    samples: int = Field(4, ge=2, le=10_000, description="Rollouts per problem (K).")


class SelectConfig(Section):
    """Stage select: a pair of one correct and one majority-wrong rollout per problem."""

    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the draw that breaks ties between equally common wrong answers."
    )


class TeachConfig(Decoding):
    """Stage teach: the hinted teacher's robust solution (paper: T=0.4) and its captured signal."""

    temperature: float = Field(0.4, ge=0, description="Sampling temperature; 0: greedy decoding.")
    codec: Literal["hidden", "topk", "dense"] = Field(
        "hidden",
        description="Form of the stored distributions: hidden (the states before the shared output head; "
        "exact and smallest), topk (the logits of the k most probable tokens), dense (all logits, in float16).",
    )
    k: int = Field(
        64, ge=1, description="Number of tokens that codec topk stores of every distribution; other codecs ignore it."
    )


class Objective(Section):
    """The loss of distillation: ``(1 - a) T^2 D(teacher, student) + a CE`` in nats per token, with a = `cross_entropy`.

    The divergence D, at temperature T, is KL(teacher || student) (`forward_kl`; paper, equation 3),
    KL(student || teacher) (`reverse_kl`), or ``b KL(teacher || m) + (1 - b) KL(student || m)`` with
    m = b teacher + (1 - b) student and b = `beta` (`jsd`; Agarwal et al. 2024). CE is the cross-entropy of the
    teacher's tokens at temperature 1.
    """

    temperature: float = Field(
        2.0, gt=0, description="Distillation temperature T; the divergence is multiplied by T^2."
    )
    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = Field(
        "forward_kl",
        description="The divergence: forward_kl (KL(teacher || student), as in the paper), reverse_kl "
        "(KL(student || teacher)), or jsd (between the two; see beta).",
    )
    beta: float = Field(
        0.5, gt=0, lt=1, description="Weight of the teacher in the mixture of jsd; other divergences ignore it."
    )
    cross_entropy: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Weight of the cross-entropy on the teacher's tokens in the loss; 0: none, 1: plain SFT.",
    )


class DistillConfig(Objective):
    """Stage distill: training of the LoRA student. The defaults are the paper's hyperparameters."""

    lora_rank: int = Field(32, ge=1, le=2**16, description="Rank of the LoRA adapter of every linear layer.")
    lora_alpha: int = Field(32, ge=1, description="LoRA alpha; the adapter's product is scaled by alpha / rank.")
    learning_rate: float = Field(2e-4, gt=0, description="Learning rate at the start; it falls linearly to 0.")
    batch_size: int = Field(4, ge=1, description="Traces per optimiser step, over all processes.")
    accumulation: int = Field(
        1,
        ge=1,
        description="Split the batch of each step into N passes, which needs less memory; it must divide batch_size.",
    )
    checkpointing: bool = Field(
        False,
        description="Gradient checkpointing: compute activations again in the backward pass. Less memory, more time.",
    )
    epochs: int = Field(3, ge=1, description="Passes over all traces.")
    group_by_length: bool = Field(
        False,
        description="Put traces of similar length into one batch: less padding, but fewer combinations of traces.",
    )
    held_out: int = Field(
        0, ge=0, description="Number of traces to keep out of training; their loss is computed at every checkpoint."
    )
    patience: int = Field(
        0,
        ge=0,
        description="Stop after N checkpoints without a better held-out loss, and keep the best one; 0: never.",
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Clip gradients to this norm.")
    save_steps: int = Field(50, ge=1, description="Optimiser steps between checkpoints.")
    seed: int = Field(
        0, ge=0, le=2**32 - 1, description="Seed of the adapter's initial weights and of the order of traces."
    )

    @model_validator(mode="after")
    def _check_passes(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError(
                f"distill.accumulation ({self.accumulation}) must divide distill.batch_size ({self.batch_size})"
            )
        if self.patience and not self.held_out:
            raise ValueError("distill.patience watches the loss of distill.held_out traces: set that, too")
        return self

    @property
    def recipe(self) -> dict[str, Any]:
        """The fields that decide the student and its log. `save_steps` does only if traces are held out."""
        without_effect = {"accumulation", "checkpointing"}
        if not self.held_out:
            without_effect |= {"save_steps"}
        if self.divergence != "jsd":
            without_effect |= {"beta"}
        if self.cross_entropy == 1:
            without_effect |= {"temperature", "divergence", "beta"}
        return self.model_dump(exclude=without_effect)


class GrpoConfig(Decoding):
    """Baseline grpo: GRPO of TRL, with the LoRA student of `distill`.

    `samples`, `temperature` and `top_k` must equal those of `rollouts`. The other defaults are those that public
    recipes for Qwen2.5 up to 3B on GSM8K share (W. Brown's GRPO demo for TRL, Unsloth's Qwen2.5-3B notebook): learning
    rate 5e-6 and gradients clipped at 0.1. These recipes use the KL coefficient 0.04, TRL's default at the time; it is
    0 today.
    """

    temperature: float = Field(0.8, gt=0, description="Sampling temperature; it must equal rollouts.temperature.")
    samples: int = Field(
        4,
        ge=2,
        le=10_000,
        description="Answers per problem that are compared with each other (the group size); it must equal "
        "rollouts.samples.",
    )
    prompts_per_step: int = Field(
        8, ge=1, description="Problems per optimiser step; the last problems are skipped if they do not fill a step."
    )
    accumulation: int = Field(
        1, ge=1, description="Split the samples of each step into N passes, which needs less memory."
    )
    checkpointing: bool = Field(
        False,
        description="Gradient checkpointing: compute activations again in the backward pass. Less memory, more time.",
    )
    epochs: int = Field(1, ge=1, description="Passes over all problems; 1 costs as many samples as SSB's rollouts.")
    learning_rate: float = Field(5e-6, gt=0, description="Learning rate at the start; it falls to 0 along a cosine.")
    beta: float = Field(
        0.04,
        ge=0,
        description="Weight of the KL divergence from the base model in the loss; 0 needs no reference model.",
    )
    max_grad_norm: float = Field(0.1, gt=0, description="Clip gradients to this norm.")
    save_steps: int = Field(50, ge=1, description="Optimiser steps between checkpoints.")

    @model_validator(mode="after")
    def _check_passes(self) -> Self:
        if self.prompts_per_step * self.samples % self.accumulation:
            raise ValueError(
                f"grpo.accumulation ({self.accumulation}) must divide the samples of a step "
                f"({self.prompts_per_step} prompts of {self.samples})"
            )
        return self

    @property
    def recipe(self) -> dict[str, Any]:
        """The fields that decide the student and its log."""
        return self.model_dump(exclude={"accumulation", "checkpointing", "save_steps"})


class EvaluateConfig(Decoding):
    """Stage evaluate: accuracy (avg@k) of base, student and baselines on held-out benchmarks."""

    temperature: float = Field(
        0.0, ge=0, description="Sampling temperature; 0: greedy decoding, for which samples must be 1."
    )
    samples: int = Field(1, ge=1, le=10_000, description="Samples per problem (k of avg@k).")
    limit: int | None = Field(
        None, ge=1, description="Use at most N problems of every benchmark, e.g. for a smoke run; null: all."
    )
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1, description="The held-out problem sets.")

    def limited_benchmarks(self) -> tuple[Benchmark, ...]:
        """The benchmarks, each with at most `limit` problems."""
        if self.limit is None:
            return self.benchmarks
        return tuple(b.model_copy(update={"limit": min(b.limit or self.limit, self.limit)}) for b in self.benchmarks)

    @model_validator(mode="after")
    def _check_benchmarks(self) -> Self:
        names = [b.name for b in self.benchmarks]
        if len(set(names)) < len(names):
            raise ValueError(f"evaluate.benchmarks: names must be unique, but they are {', '.join(names)}")
        for b in self.benchmarks:
            if self.decoding(b).temperature == 0 and self.samples_of(b) > 1:
                raise ValueError(
                    "evaluate.temperature: greedy decoding repeats the same sample: set evaluate.samples to 1 or a "
                    f"temperature above 0 (benchmark {b.name})"
                )
        return self

    def decoding(self, benchmark: Benchmark) -> Decoding:
        """The sampling of `benchmark`: its own fields, and those of this section for the rest."""
        own = benchmark.model_dump(include=set(Decoding.model_fields), exclude_none=True)
        return Decoding.model_validate(self.recipe | own)

    def samples_of(self, benchmark: Benchmark) -> int:
        """Samples per problem of `benchmark`."""
        return self.samples if benchmark.samples is None else benchmark.samples


def require_packages(execution: Execution) -> None:
    """Check that the packages for `report_to` and `workers` are installed.

    Raises:
        ConfigError: a package is missing. The message names it and the command that installs it.
    """
    for name in execution.report_to:
        if find_spec(name) is None:
            raise ConfigError(f"execution.report_to: {name} is not installed\n  remedy: pip install {name}")
    if execution.workers.used and find_spec("prefect_ray") is None:
        raise ConfigError(
            "execution.workers: prefect-ray is not installed\n  remedy: pip install -c constraints.txt -e '.[ray]'"
        )


Baseline = Literal["grpo", "sft", "rft", "ssb-no-wrong"]


class RunConfig(Section):
    """The configuration of one run of the pipeline."""

    model: ModelConfig = Field(description="The base model: both student and hinted teacher.")
    problems: ProblemsConfig = Field(description="The training problems.")
    prompts: PromptsConfig = Field(
        PromptsConfig(), description="Worked examples before the question, for a model that needs them."
    )
    target_traces: int = Field(
        256, ge=1, description="Number of taught traces to train on; sampling stops when there are enough."
    )
    rollouts: RolloutsConfig = Field(RolloutsConfig(), description="Stage rollouts: answers to the bare question.")
    select: SelectConfig = Field(
        SelectConfig(), description="Stage select: a pair of a correct and a majority-wrong rollout."
    )
    teach: TeachConfig = Field(
        TeachConfig(), description="Stage teach: the hinted teacher's robust solution and its signal."
    )
    distill: DistillConfig = Field(DistillConfig(), description="Stage distill: training of the LoRA student.")
    baselines: tuple[Baseline, ...] = Field(
        (),
        description="Students to compare with, trained on the same problems: grpo (reinforcement learning), sft (the "
        "taught solutions as text), rft (the correct rollouts as text), ssb-no-wrong (a teacher that sees no wrong "
        "rollout).",
    )
    seeds: int = Field(
        1,
        ge=1,
        le=1000,
        description="Number of trainings of every student, with consecutive seeds from distill.seed or grpo.seed on; "
        "1, or at least 3.",
    )
    grpo: GrpoConfig = Field(GrpoConfig(), description="Baseline grpo; it is used only if baselines contains it.")
    rounds: int = Field(
        1,
        ge=1,
        le=1000,
        description="Number of bootstrap rounds; the student of a round is the base model of the next.",
    )
    evaluate: EvaluateConfig = Field(description="Stage evaluate: accuracy on held-out benchmarks.")
    execution: Execution = Field(Execution(), description="Device, engine and machines. They change no result.")

    @model_validator(mode="after")
    def _check_run(self) -> Self:
        execution, per_pass = self.execution, self.distill.batch_size // self.distill.accumulation
        n, nodes = execution.train_processes, execution.train_nodes
        if per_pass % n:
            raise ValueError(
                f"execution.train_processes ({n}) must divide the traces of one pass ({per_pass}: distill.batch_size / "
                "distill.accumulation)"
            )
        if n % nodes:
            raise ValueError(f"execution.train_nodes ({nodes}) must divide execution.train_processes ({n})")
        if nodes > 1 and execution.train_endpoint is None:
            raise ValueError("execution.train_nodes: several machines need execution.train_endpoint=HOST:PORT")
        if execution.train_sharded and n == 1:
            raise ValueError(
                "execution.train_sharded spreads the weights over execution.train_processes: set that above 1"
            )
        if self.seeds == 2:
            raise ValueError("seeds: two trainings are too few for an interval; set it to 1, or to at least 3")
        if "grpo" in self.baselines:
            for name in ("samples", "temperature", "top_k"):
                ours, theirs = getattr(self.rollouts, name), getattr(self.grpo, name)
                if ours != theirs:
                    raise ValueError(
                        f"grpo.{name} ({theirs}) is not rollouts.{name} ({ours}), so the budgets differ: "
                        "set both to the same value"
                    )
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(f"baselines must be unique, but they are {', '.join(self.baselines)}")
        if self.distill.held_out >= self.target_traces:
            raise ValueError(
                f"distill.held_out ({self.distill.held_out}) leaves no trace to train on: target_traces is "
                f"{self.target_traces}"
            )
        return self
