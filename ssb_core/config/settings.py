"""The configuration of a run: one frozen model per stage, `RunConfig` on top, `Execution` apart.

Every field outside `Execution` decides rows and is part of a recipe (see `stages`). `Execution` says how the work is
done (device, batch size, shard size) and is never hashed. Unknown fields are refused.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from ..errors import ConfigError
from ..records import AnswerForm
from .execution import Execution
from .frozen import Frozen


class ModelConfig(Frozen):
    """The base model that plays both roles."""

    source: str = Field(
        description="Hub id, local directory, GGUF file (a path, or PACKAGE/FILE.gguf inside an installed package), "
        "or 'nano' for the embedded model.",
        min_length=1,
    )
    revision: str | None = Field(None, description="Hub revision (branch, tag or commit).")
    chat_template: str | None = Field(None, description="Jinja file to use instead of the model's own chat template.")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("bfloat16", description="Weights are computed in this.")


class ProblemsConfig(Frozen):
    """A problem set: where it is and which fields hold the question and the answer."""

    source: str = Field(
        description="JSON-lines or Parquet file ($NAME stands for an environment variable), hub id, or embedded set.",
        min_length=1,
    )
    subset: str | None = Field(None, description="Hub configuration name, e.g. 'main' for openai/gsm8k.")
    split: str = Field("train", description="Hub split.")
    id: str | None = Field(None, description="Field with a unique id; by default the row number is used.")
    question: str = Field("question", description="Field with the question.")
    answer: str = Field("answer", description="Field with the reference answer.")
    subject: str | None = Field(None, description="Field with a subject to report by.")
    level: str | None = Field(None, description="Field with a difficulty to report by.")
    form: AnswerForm = Field(
        "boxed", description="Where the answer field holds the answer: in a box, after ####, as a choice letter, bare."
    )
    distinct: bool = Field(
        False, description="Ask a question once, however often it stands there (before skip: so held-out ones are new)."
    )
    skip: int = Field(0, ge=0, description="Leave out the first this many, to hold them out or because they are.")
    limit: int | None = Field(None, ge=1, description="Use at most this many problems.")
    shuffle_seed: int | None = Field(None, description="Draw the problems in this seeded order; file order if null.")

    @property
    def completion_form(self) -> AnswerForm:
        """How completions hold their answers: prompts ask for a box whatever the data set does; choices are letters."""
        return "choice" if self.form == "choice" else "boxed"


class Benchmark(ProblemsConfig):
    """A held-out problem set with a name to report it by."""

    name: str = Field(description="Name in tables and in summary.json.", pattern=r"^[a-z0-9][a-z0-9-]*$")
    split: str = Field("test", description="Hub split.")
    few_shot: bool = Field(False, description="Ask with the worked examples of prompts.few_shot.")
    samples: int | None = Field(None, ge=1, le=10_000, description="Samples per problem, if other than evaluate's.")
    temperature: float | None = Field(None, ge=0, description="If other than evaluate's.")
    top_k: int | None = Field(None, ge=0, description="If other than evaluate's.")
    max_new_tokens: int | None = Field(None, ge=1, description="If other than evaluate's.")


class Example(Frozen):
    """A worked example for a model that does not answer in a box by itself."""

    question: str = Field(min_length=1, description="As a user would ask it.")
    solution: str = Field(min_length=1, description="As the model should write it, with the answer in \\boxed{}.")


class PromptsConfig(Frozen):
    """What stands before a question. The student learns, and is asked, without examples."""

    few_shot: tuple[Example, ...] = Field(
        (), description="Worked examples as earlier chat turns, for rollouts and for benchmarks with few_shot: true."
    )
    teach_few_shot: bool = Field(True, description="Show them to the hinted teacher too.")


class Decoding(Frozen):
    """How completions are sampled. Temperature 0 is greedy; top_k 0 keeps the whole vocabulary."""

    temperature: float = Field(ge=0, description="0 is greedy.")
    top_k: int = Field(50, ge=0, description="Draw from this many of the most probable tokens; 0: from all.")
    max_new_tokens: int = Field(1024, ge=1, description="Token cap of one completion.")
    seed: int = Field(0, ge=0, lt=2**32, description="Every problem and sample has a stream of its own from it.")

    @property
    def recipe(self) -> dict[str, Any]:
        """The fields that decide what is sampled, as they are hashed into recipes."""
        return self.model_dump(include=set(Decoding.model_fields))


class RolloutsConfig(Decoding):
    """Stage rollouts: answers of the base model to the bare question (paper: K=4, T=0.8, top-k 50)."""

    temperature: float = Field(0.8, ge=0, description="0 is greedy, which gives the same rollout K times.")
    samples: int = Field(4, ge=2, le=10_000, description="Rollouts per problem (K).")


class SelectConfig(Frozen):
    """Stage select: one correct and one majority-wrong rollout per problem."""

    seed: int = Field(0, ge=0, lt=2**32, description="Breaks ties between equally common wrong answers.")


class TeachConfig(Decoding):
    """Stage teach: the hinted teacher's robust solution (paper: T=0.4) and its captured signal."""

    temperature: float = Field(0.4, ge=0, description="0 is greedy.")
    codec: Literal["hidden", "topk", "dense"] = Field(
        "hidden",
        description="What is stored of the teacher's distributions: 'hidden' is exact and smallest, as the states that "
        "the shared head reads; 'topk' keeps the k most probable tokens; 'dense' all, in float16.",
    )
    k: int = Field(64, ge=1, description="Tokens that codec 'topk' keeps of every distribution.")


class Objective(Frozen):
    """What the student minimises: ``(1 - a) T^2 D(teacher, student) + a CE``, in nats a token, a = `cross_entropy`.

    D, at temperature T, is KL(teacher || student) (`forward_kl`; paper, equation 3), KL(student || teacher)
    (`reverse_kl`), or ``b KL(teacher || m) + (1 - b) KL(student || m)`` with m = b teacher + (1 - b) student and
    b = `beta` (`jsd`; Agarwal et al. 2024). CE is the cross-entropy, at temperature 1, of what the teacher wrote.
    """

    temperature: float = Field(2.0, gt=0, description="Distillation temperature T; the loss is T^2 times a divergence.")
    divergence: Literal["forward_kl", "reverse_kl", "jsd"] = Field(
        "forward_kl",
        description="forward_kl, KL(teacher || student), is the paper's; jsd lies between it and reverse_kl.",
    )
    beta: float = Field(0.5, gt=0, lt=1, description="The teacher's share in jsd's mixture; without effect elsewhere.")
    cross_entropy: float = Field(
        0.0, ge=0, le=1, description="Share of plain cross-entropy on the teacher's tokens in the loss; 1 is plain SFT."
    )


class DistillConfig(Objective):
    """Stage distill: the LoRA student (defaults are the paper's hyperparameters)."""

    lora_rank: int = Field(32, ge=1, le=2**16, description="Rank of the adapter of every linear layer.")
    lora_alpha: int = Field(32, ge=1, description="The adapter's product is scaled by alpha / rank.")
    learning_rate: float = Field(2e-4, gt=0, description="At the start; it falls linearly to 0.")
    batch_size: int = Field(4, ge=1, description="Traces per optimiser step.")
    accumulation: int = Field(1, ge=1, description="Split each step's batch into this many passes.")
    checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, more time."
    )
    epochs: int = Field(3, ge=1, description="Times each trace is learned from.")
    group_by_length: bool = Field(
        False, description="Batches of like length: less padding, but traces meet in fewer combinations."
    )
    held_out: int = Field(
        0, ge=0, description="Taught traces that are not trained on; their loss is computed at every checkpoint."
    )
    patience: int = Field(
        0, ge=0, description="Stop after this many checkpoints without a better held-out loss, keep the best; 0: never."
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients are clipped to this norm.")
    save_steps: int = Field(50, ge=1, description="Optimiser steps between checkpoints.")
    seed: int = Field(0, ge=0, lt=2**32, description="Of the adapter's first weights and of the order of traces.")

    @model_validator(mode="after")
    def _whole_passes(self) -> Self:
        if self.batch_size % self.accumulation:
            raise ValueError(f"accumulation ({self.accumulation}) must divide batch_size ({self.batch_size})")
        if self.patience and not self.held_out:
            raise ValueError("patience needs held_out traces to see whether the loss still falls")
        return self

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the student and its log; checkpoints do only where the held-out loss is noted at them."""
        how = {"accumulation", "checkpointing"} if self.held_out else {"accumulation", "checkpointing", "save_steps"}
        unused = {"beta"} if self.divergence != "jsd" else set()
        if self.cross_entropy == 1:
            unused |= {"temperature", "divergence", "beta"}
        return self.model_dump(exclude=how | unused)


class GrpoConfig(Decoding):
    """Baseline grpo: TRL's GRPO with the LoRA student of `distill`.

    Samples, temperature and top-k have to be those of SSB's rollouts. The rest is what public recipes for Qwen2.5 up to
    3B on GSM8K share (W. Brown's GRPO demo for TRL, Unsloth's Qwen2.5-3B notebook): learning rate 5e-6, gradients
    clipped at 0.1. They train with the KL coefficient 0.04 that was TRL's default at the time; 0, today's default,
    needs no reference model.
    """

    temperature: float = Field(0.8, gt=0, description="As in rollouts.")
    samples: int = Field(
        4, ge=2, le=10_000, description="Answers per problem that are compared with each other (group size)."
    )
    prompts_per_step: int = Field(8, ge=1, description="Problems per optimiser step; what fills no step is left out.")
    accumulation: int = Field(1, ge=1, description="Split each step's samples into this many passes.")
    checkpointing: bool = Field(
        False, description="Compute activations again in the backward pass: less memory, more time."
    )
    epochs: int = Field(1, ge=1, description="Times each problem is asked; 1 costs as many samples as SSB's rollouts.")
    learning_rate: float = Field(5e-6, gt=0, description="At the start; it falls to 0 along a cosine.")
    beta: float = Field(0.04, ge=0, description="Coefficient of the KL divergence from the base model in the loss.")
    max_grad_norm: float = Field(0.1, gt=0, description="Gradients are clipped to this norm.")
    save_steps: int = Field(50, ge=1, description="Optimiser steps between checkpoints.")

    @model_validator(mode="after")
    def _whole_passes(self) -> Self:
        if self.prompts_per_step * self.samples % self.accumulation:
            raise ValueError(
                f"accumulation ({self.accumulation}) must divide the samples of a step "
                f"({self.prompts_per_step} prompts of {self.samples})"
            )
        return self

    @property
    def recipe(self) -> dict[str, Any]:
        """What decides the student and its log."""
        return self.model_dump(exclude={"accumulation", "checkpointing", "save_steps"})


class EvaluateConfig(Decoding):
    """Stage evaluate: accuracy (avg@k) of base and student on held-out benchmarks."""

    temperature: float = Field(0.0, ge=0, description="0 is greedy, and needs samples to be 1.")
    samples: int = Field(1, ge=1, le=10_000, description="Samples per problem (k of avg@k).")
    limit: int | None = Field(None, ge=1, description="Ask at most this many problems of every benchmark: a smoke run.")
    benchmarks: tuple[Benchmark, ...] = Field(min_length=1, description="Held-out problem sets.")

    def limited_benchmarks(self) -> tuple[Benchmark, ...]:
        """The benchmarks as they are asked: of each no more than `limit` problems."""
        if self.limit is None:
            return self.benchmarks
        return tuple(b.model_copy(update={"limit": min(b.limit or self.limit, self.limit)}) for b in self.benchmarks)

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        names = [b.name for b in self.benchmarks]
        if len(set(names)) < len(names):
            raise ValueError(f"benchmark names must be unique, got {names}")
        for b in self.benchmarks:
            if self.decoding(b).temperature == 0 and self.samples_of(b) > 1:
                raise ValueError(
                    "greedy decoding gives the same sample again: set samples to 1 or a temperature above 0 "
                    f"(benchmark {b.name})"
                )
        return self

    def decoding(self, benchmark: Benchmark) -> Decoding:
        """How `benchmark` is sampled: as here, but for what it states itself."""
        own = benchmark.model_dump(include=set(Decoding.model_fields), exclude_none=True)
        return Decoding.model_validate(self.recipe | own)

    def samples_of(self, benchmark: Benchmark) -> int:
        """Samples per problem of `benchmark`."""
        return self.samples if benchmark.samples is None else benchmark.samples


def require_packages(execution: Execution) -> None:
    """Refuse reports and workers whose package is not here.

    Raises:
        ConfigError: one is not installed.
    """
    for name in execution.report_to:
        if find_spec(name) is None:
            raise ConfigError(f"execution.report_to: {name} is not installed\n  remedy: pip install {name}")
    if execution.workers.used and find_spec("prefect_ray") is None:
        raise ConfigError(
            "execution.workers: prefect-ray is not installed\n  remedy: pip install -c constraints.txt -e '.[ray]'"
        )


Baseline = Literal["grpo", "sft", "rft", "ssb-no-wrong"]


class RunConfig(Frozen):
    """Everything one run of the pipeline needs."""

    model: ModelConfig = Field(description="The base model: student and hinted teacher.")
    problems: ProblemsConfig = Field(description="What it learns from.")
    prompts: PromptsConfig = Field(PromptsConfig(), description="Worked examples before the question, if it needs any.")
    target_traces: int = Field(256, ge=1, description="Stop sampling problems once this many traces are taught.")
    rollouts: RolloutsConfig = Field(RolloutsConfig(), description="Stage rollouts: answers to the bare question.")
    select: SelectConfig = Field(SelectConfig(), description="Stage select: a correct and a majority-wrong rollout.")
    teach: TeachConfig = Field(TeachConfig(), description="Stage teach: the robust solution, and its exact signal.")
    distill: DistillConfig = Field(DistillConfig(), description="Stage distill: the LoRA student.")
    baselines: tuple[Baseline, ...] = Field(
        (),
        description="What else learns from the same problems: grpo (reinforcement learning), sft (the taught solutions "
        "as text), rft (the correct rollouts as text), ssb-no-wrong (a teacher that sees no wrong rollout).",
    )
    seeds: int = Field(
        1,
        ge=1,
        le=1000,
        description="Train every student so often, with seeds from distill.seed or grpo.seed on: 1, or 3 and more.",
    )
    grpo: GrpoConfig = Field(GrpoConfig(), description="Baseline grpo, if it is among the baselines.")
    rounds: int = Field(1, ge=1, le=1000, description="Bootstrap so often: a round's student is the base of the next.")
    evaluate: EvaluateConfig = Field(description="Stage evaluate: accuracy on held-out benchmarks.")
    execution: Execution = Field(Execution(), description="How the work is done; changes no result.")

    @model_validator(mode="after")
    def _whole_parts(self) -> Self:
        passed, n = self.distill.batch_size // self.distill.accumulation, self.execution.train_processes
        if passed % n:
            raise ValueError(
                f"execution.train_processes ({n}) must divide what a pass of distill.batch_size is ({passed} traces)"
            )
        how = self.execution
        if n % how.train_nodes:
            raise ValueError(f"execution.train_nodes ({how.train_nodes}) must divide execution.train_processes ({n})")
        if how.train_nodes > 1 and how.train_endpoint is None:
            raise ValueError("execution.train_nodes: say where they meet, as execution.train_endpoint=HOST:PORT")
        if self.execution.train_sharded and n == 1:
            raise ValueError("execution.train_sharded spreads the weights over execution.train_processes: set that too")
        if self.seeds == 2:
            raise ValueError("seeds: two say too little of how students differ for intervals to hold: 1, or 3 and more")
        if "grpo" in self.baselines:
            for name in ("samples", "temperature", "top_k"):
                ours, theirs = getattr(self.rollouts, name), getattr(self.grpo, name)
                if ours != theirs:
                    raise ValueError(
                        f"grpo.{name} ({theirs}) is not rollouts.{name} ({ours}), so budgets would differ: set both"
                    )
        if len(set(self.baselines)) < len(self.baselines):
            raise ValueError(f"baselines must be named once each, got {list(self.baselines)}")
        if self.distill.held_out >= self.target_traces:
            raise ValueError(f"distill.held_out ({self.distill.held_out}) leaves nothing of target_traces to train on")
        return self
