"""TRL's `GRPOTrainer` on our prompts and verdicts.

What is not set here or in `GrpoConfig` is TRL's default: its token-level loss (`dapo`), advantages scaled by the spread
of each group, clipping at 0.2, one update for each generation. The optimiser is the one of the public recipes that
`GrpoConfig` names: AdamW with beta2 0.99 and weight decay 0.1, a tenth of the steps to warm up, then cosine decay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datasets import Dataset
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import GRPOConfig, GRPOTrainer

from .. import models
from ..config import GrpoConfig
from ..progress import Progress
from ..records import Problem
from ..stages import distill
from ..verify import Verifier
from . import checkpoints
from .trainer import Report, Speed

if TYPE_CHECKING:
    from ..stages.baselines.grpo import Spec


class Trainer(checkpoints.Sealing, GRPOTrainer):
    """Asks the problems in the given order; a row of its data set is a problem's id, which stands for the prompt."""

    def __init__(
        self,
        spec: Spec,
        asked: Sequence[Problem],
        prompt_ids: Mapping[str, tuple[int, ...]],
        verifier: Verifier,
        work: Path,
        progress: Progress,
    ) -> None:
        self.prompt_ids = prompt_ids
        self.answers = {p.id: p.answer for p in asked}
        self.verifier = verifier
        self.speed = Speed(work / "speed.json")
        base = models.load_model(spec.model, spec.execution.device)
        base.generation_config.eos_token_id = list(models.end_of_turn(spec.model))
        super().__init__(
            base,
            self.reward,
            training_arguments(spec.grpo, work, use_cpu=base.device.type == "cpu"),
            Dataset.from_dict({"prompt": [p.id for p in asked]}),
            processing_class=models.load_tokenizer(spec.model),
            callbacks=[Report(progress, spec.stage, self.speed)],
            peft_config=distill.lora(spec.lora_rank, spec.lora_alpha),
        )
        distill.sort_targets(self.model)
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def reward(self, prompts: list[str], completions: list[str], log_metric: Any, **kwargs: Any) -> list[float | None]:
        """1 for each completion that the verifier calls correct, else 0."""
        tokens = sum(len(ids) for ids in kwargs["completion_ids"])
        self.speed.tokens += tokens
        log_metric("tokens", tokens)
        pairs = zip(completions, (self.answers[problem_id] for problem_id in prompts), strict=True)
        return [float(verdict.status == "correct") for verdict in self.verifier.grade(pairs)]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """As TRL does, unless the step diverged: that is refused at once."""
        if "loss" in logs:
            distill.refuse_divergence([{"step": self.state.global_step, **logs}], "grpo.learning_rate")
        super().log(logs, start_time)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """TRL would render them itself, by other rules for system turns and dates."""
        return [list(self.prompt_ids[problem_id]) for problem_id in prompts], None, {}


def training_arguments(config: GrpoConfig, work: Path, use_cpu: bool) -> GRPOConfig:
    """One pass over the data set, whose order and epochs are decided by then, so that it resumes in its order."""
    arguments = GRPOConfig(
        output_dir=str(work),
        num_generations=config.samples,
        per_device_train_batch_size=config.prompts_per_step * config.samples // config.accumulation,
        gradient_accumulation_steps=config.accumulation,
        gradient_checkpointing=config.checkpointing,
        num_train_epochs=1,
        shuffle_dataset=False,
        max_completion_length=config.max_new_tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        generation_kwargs={"remove_invalid_values": True},  # a diverged student samples on, to be refused by its loss
        beta=config.beta,
        learning_rate=config.learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=0.1,
        adam_beta2=0.99,
        weight_decay=0.1,
        max_grad_norm=config.max_grad_norm,
        bf16=False,  # weights are in the configured dtype, adapters in float32: no autocast, as in distillation
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_steps=config.save_steps,
        save_total_limit=2,
        seed=config.seed,
        use_cpu=use_cpu,
        dataloader_pin_memory=not use_cpu,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # TRL refuses DataParallel
    return arguments
