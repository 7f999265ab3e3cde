"""TRL's `GRPOTrainer` on our prompts and verdicts.

A setting that is neither here nor in `GrpoConfig` is TRL's default: its token-level loss (`dapo`), advantages scaled by
the spread of each group, clipping at 0.2, one update for each generation. The optimiser is that of the public recipes
named by `GrpoConfig`: AdamW with beta2 0.99 and weight decay 0.1, a tenth of the steps to warm up, then cosine decay.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from trl import GRPOConfig, GRPOTrainer

from .. import models
from ..config import GrpoConfig
from ..progress import Progress
from ..records import Problem
from ..verify import Verifier
from . import checkpoints
from .callbacks import Report, Speed
from .job import TrainingJob
from .log import SPEED, refuse_divergence, write_log
from .student import lora, sort_targets


def train(
    job: TrainingJob,
    problems: Sequence[Problem],
    prompt_ids: Mapping[str, tuple[int, ...]],
    verifier: Verifier,
    keep: Callable[[Path], None],
    work_dir: Path,
    checkpoint: Path | None,
    progress: Progress,
) -> None:
    """Train on the `problems` in their order; the adapter and its log are then in ``work_dir/result``.

    Training goes on from `checkpoint` if there is one. ``keep(path)`` is called with every new checkpoint.
    """
    trainer = Trainer(job, problems, prompt_ids, verifier, work_dir, progress)
    trainer.keep = keep
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    student: Any = trainer.model
    student.save_pretrained(work_dir / "result" / "adapter")
    write_log(work_dir / "result", log_rows(trainer.state.log_history))


def log_rows(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each optimiser step: means over its samples, except `tokens`, which counts all generated so far."""
    columns = ("step", "loss", "reward", "grad_norm", "kl", "learning_rate")
    rows, tokens = [], 0
    for row in history:
        if "loss" in row:
            tokens += round(row["tokens"])
            values = {k: row[k] for k in columns if k in row}
            rows.append(values | {"mean_length": row["completions/mean_length"], "tokens": tokens})
    return rows


class Trainer(checkpoints.Sealing, GRPOTrainer):
    """Samples the problems in the given order. Its data set has a problem's id instead of the prompt."""

    def __init__(
        self,
        job: TrainingJob,
        problems: Sequence[Problem],
        prompt_ids: Mapping[str, tuple[int, ...]],
        verifier: Verifier,
        work_dir: Path,
        progress: Progress,
    ) -> None:
        assert isinstance(job.settings, GrpoConfig)
        self.prompt_ids = prompt_ids
        self.answers = {p.id: p.answer for p in problems}
        self.verifier = verifier
        self.speed = Speed(work_dir / SPEED)
        base = models.load_model(job.model, job.execution.device)
        base.generation_config.eos_token_id = list(models.end_of_turn(job.model))
        super().__init__(
            base,
            self.reward,
            training_arguments(job.settings, work_dir, use_cpu=base.device.type == "cpu"),
            Dataset.from_dict({"prompt": [p.id for p in problems]}),
            processing_class=models.load_tokenizer(job.model),
            callbacks=[Report(progress, job.label, self.speed)],
            peft_config=lora(job.lora_rank, job.lora_alpha),
        )
        sort_targets(self.model)
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def reward(self, prompts: list[str], completions: list[str], log_metric: Any, **kwargs: Any) -> list[float | None]:
        """1 for each completion that the verifier calls correct, 0 for any other."""
        tokens = sum(len(ids) for ids in kwargs["completion_ids"])
        self.speed.tokens += tokens
        log_metric("tokens", tokens)
        pairs = zip(completions, (self.answers[problem_id] for problem_id in prompts), strict=True)
        return [float(verdict.status == "correct") for verdict in self.verifier.grade(pairs)]

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log as TRL does, but refuse a step that diverged at once."""
        if "loss" in logs:
            refuse_divergence([{"step": self.state.global_step, **logs}], "grpo.learning_rate")
        super().log(logs, start_time)

    def _tokenize_prompts(self, prompts: list[str]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Our own prompts: TRL would render them by other rules for system turns and dates."""
        return [list(self.prompt_ids[problem_id]) for problem_id in prompts], None, {}


def training_arguments(config: GrpoConfig, work_dir: Path, use_cpu: bool) -> GRPOConfig:
    """One pass over the data set, which holds all epochs in their order, so that training resumes in that order."""
    arguments = GRPOConfig(
        output_dir=str(work_dir),
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
