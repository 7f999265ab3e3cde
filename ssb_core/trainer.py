"""The student's `Trainer`: everything is Hugging Face's but the loss, which is read from hidden states."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from . import models
from .config import DistillConfig, Objective
from .progress import Progress
from .signal.losses import divergence
from .signal.teachers import HiddenStates
from .store import write_json


class DistillTrainer(Trainer):
    """Minimises the mean of the `Objective` over solution tokens.

    `speed` counts the solution tokens trained on and the seconds that took, over all processes that trained so far;
    it is kept beside every checkpoint.
    """

    def __init__(
        self,
        student: Any,
        traces: Any,
        collate: Callable[..., dict[str, torch.Tensor]],
        config: DistillConfig,
        work: Path,
        progress: Progress,
    ) -> None:
        self.objective: Objective = config
        self.speed = Speed(work / "speed.json")
        arguments = training_arguments(config, work, use_cpu=student.device.type == "cpu")
        super().__init__(student, arguments, collate, traces, callbacks=[_Report(progress, self.speed)])
        # The loss below is divided by the token count of the whole optimiser step, not of one pass of it.
        self.model_accepts_loss_kwargs = True
        self.remove_callback(PrinterCallback)
        self.remove_callback(ProgressCallback)

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, torch.Tensor],
        return_outputs: bool = False,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> Any:
        labels_BS = inputs["labels"]
        predicts_BS = labels_BS[:, 1:] != -100  # the state at position s predicts token s + 1
        student = self.accelerator.unwrap_model(model)
        hidden_BSH = models.backbone(student)(
            input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False
        ).last_hidden_state
        student_NH = hidden_BSH[:, :-1][predicts_BS]
        head_VH, soft_cap = models.head_weight(student), models.soft_cap(student)
        token_N = labels_BS[:, 1:][predicts_BS]
        teacher = HiddenStates(inputs["teacher_NH"])
        total = divergence(student_NH, teacher, head_VH, self.objective, token_N, soft_cap=soft_cap)
        self.speed.tokens += len(student_NH)
        loss = total / (len(student_NH) if num_items_in_batch is None else num_items_in_batch)
        return (loss, hidden_BSH) if return_outputs else loss


class Speed:
    """Tokens and seconds of training, gone on with from `path` where a killed process left them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        before = json.loads(path.read_text()) if path.exists() else {"tokens": 0, "seconds": 0.0}
        self.tokens, self.before = int(before["tokens"]), float(before["seconds"])
        self.started = time.monotonic()

    def start(self) -> None:
        self.started = time.monotonic()

    def save(self) -> None:
        write_json(self.path, {"tokens": self.tokens, "seconds": self.before + time.monotonic() - self.started})


class _Report(TrainerCallback):
    def __init__(self, progress: Progress, speed: Speed) -> None:
        self.progress = progress
        self.speed = speed

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress.begin("distill", state.max_steps, "steps", state.global_step)
        self.speed.start()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress.advance()

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.speed.save()

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress.end()


def training_arguments(config: DistillConfig, work: Path, use_cpu: bool) -> TrainingArguments:
    """The paper's optimiser settings: AdamW, linear decay, no warm-up, no weight decay."""
    arguments = TrainingArguments(
        output_dir=str(work),
        per_device_train_batch_size=config.batch_size // config.accumulation,
        gradient_accumulation_steps=config.accumulation,
        gradient_checkpointing=config.checkpointing,
        gradient_checkpointing_kwargs={"use_reentrant": False},  # the embeddings are frozen: no input has a gradient
        num_train_epochs=config.epochs,
        learning_rate=config.learning_rate,
        lr_scheduler_type="linear",
        weight_decay=0.0,
        max_grad_norm=config.max_grad_norm,
        logging_steps=1,
        save_steps=config.save_steps,
        save_total_limit=2,
        seed=config.seed,
        use_cpu=use_cpu,
        dataloader_pin_memory=not use_cpu,
        remove_unused_columns=False,
        report_to="none",
        disable_tqdm=True,
        log_level="error",
        logging_nan_inf_filter=False,
    )
    if arguments.n_gpu > 1:
        arguments._n_gpu = 1  # DataParallel would multiply the batch, which the recipe fixes
    return arguments
