"""The student: the base model with LoRA weights."""

from __future__ import annotations

from typing import Any

from .. import models
from .job import TrainingJob


def make_student(job: TrainingJob) -> Any:
    """The base model with fresh, seeded LoRA weights (float32) on all linear layers but the head."""
    from peft import get_peft_model
    from transformers import set_seed

    set_seed(job.settings.seed)
    execution = job.execution
    sharded = execution.train_processes if execution.train_sharded else 1
    base = models.load_model(job.model, execution.device, sharded=sharded)
    student: Any = get_peft_model(base, lora(job.lora_rank, job.lora_alpha), autocast_adapter_dtype=True)
    sort_targets(student)
    return student


def lora(rank: int, alpha: int) -> Any:
    """LoRA on all linear layers but the head, as every student has it."""
    from peft import LoraConfig

    return LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")


def sort_targets(student: Any) -> None:
    """Sort the names of the adapted layers, so that equal students are saved as equal bytes.

    peft keeps them in a set, whose order differs between processes.
    """
    adapted = student.peft_config["default"]
    adapted.target_modules = sorted(adapted.target_modules)
