"""``python -m tests.bench.gpu``: capture, loss and training step on an NVIDIA GPU, at Qwen2.5-3B's shape.

The weights are random, because speed and memory do not depend on them. Prints one table of ratios, all measured in
this process one after the other. Liger's fused loss is included if ``liger-kernel`` is installed.
"""

from __future__ import annotations

import tempfile
from collections import UserList
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, Qwen2Config

from ssb_core import models
from ssb_core.config import DistillConfig, Objective
from ssb_core.progress import Progress
from ssb_core.records import TeacherTrace, Verdict
from ssb_core.signal.capture import batches, capture, padded
from ssb_core.signal.losses import divergence
from ssb_core.signal.teachers import HiddenStates
from ssb_core.training.trainer import DistillTrainer
from tests.bench.measure import table
from tests.bench.training import batch, sft

TOKENS, T = 8192, 2.0  # of the loss alone
PROMPT, REPLY, TRACES, BUDGET = 1200, 400, 64, 16_384  # of capture: the prompt contains two rollouts
QWEN = Qwen2Config(
    vocab_size=151_936,
    hidden_size=2048,
    intermediate_size=11_008,
    num_hidden_layers=36,
    num_attention_heads=16,
    num_key_value_heads=2,
    max_position_embeddings=32_768,
    rope_theta=1e6,
    tie_word_embeddings=True,
)
Work = Callable[[], Any]


def measured(work: Work, rounds: int = 5) -> dict[str, float]:
    """The median time of `work` in seconds, after one round to warm up, and its peak extra memory in GiB."""
    work()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    before, seconds = torch.cuda.memory_allocated(), []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        seconds.append(start.elapsed_time(end) / 1000)
    extra = torch.cuda.max_memory_allocated() - before
    return {"seconds": sorted(seconds)[rounds // 2], "extra GiB": extra / 2**30}


def captures(model: Any) -> dict[str, Work]:
    """Capture of hinted traces beside the forward pass of the same batches without a head."""
    traces = []
    for i in range(TRACES):
        prompt, reply = (tuple(torch.randint(QWEN.vocab_size, (n - 4 * i,)).tolist()) for n in (PROMPT, REPLY))
        traces.append(
            TeacherTrace(
                problem_id=str(i),
                student_prompt_ids=(1,),
                teacher_prompt_ids=prompt,
                completion_ids=reply,
                text="",
                finish_reason="stop",
                seed=0,
                verdict=Verdict("correct", "1", "n:1"),
                dropped=None,
            )
        )

    @torch.inference_mode()
    def prefill() -> None:
        for some in batches(traces, BUDGET):
            ids_BS = padded([traces[i].teacher_prompt_ids + traces[i].completion_ids for i in some], model.device)
            models.backbone(model)(input_ids=ids_BS, use_cache=False)

    return {"forward pass": prefill, "capture": lambda: capture(model, traces, BUDGET)}


def losses(model: Any) -> dict[str, Work]:
    """Forward KL of `TOKENS` tokens and its gradient, ours and Liger's."""
    head_VH = models.head_weight(model)
    student_NH, teacher_NH = (torch.randn(TOKENS, QWEN.hidden_size).to(head_VH) for _ in range(2))
    student_NH.requires_grad_()
    objective = Objective(temperature=T)
    ways = {"ours": lambda: divergence(student_NH, HiddenStates(teacher_NH), head_VH, objective).backward()}
    try:
        from liger_kernel.transformers.fused_linear_jsd import LigerFusedLinearJSD
    except ImportError:
        return ways
    fused = LigerFusedLinearJSD(jsd_beta=0.0, temperature=T)  # beta 0 is forward KL
    frozen = head_VH.detach()
    return {**ways, "Liger": lambda: fused(student_NH, frozen, teacher_NH, frozen).backward()}


def steps(model: Any, folder: Path) -> dict[str, Work]:
    """A training step of 16 sequences beside plain fine-tuning's."""
    from peft import LoraConfig, get_peft_model

    student: Any = get_peft_model(model, LoraConfig(r=32, lora_alpha=32, target_modules="all-linear"))
    optimiser = torch.optim.AdamW((p for p in student.parameters() if p.requires_grad), lr=2e-4)
    inputs = batch(QWEN.hidden_size, QWEN.vocab_size, sequences=16)
    traces: Any = UserList([0])
    traces.signal_metadata = [{"codec": "hidden/2", "dtype": "bfloat16", "hidden_size": QWEN.hidden_size}]
    trainer = DistillTrainer(student, traces, traces, DistillConfig(temperature=T), folder, Progress())
    prepared = trainer._prepare_inputs(inputs)

    def step(loss_of: Work) -> None:
        loss_of().backward()
        optimiser.step()
        optimiser.zero_grad()

    ways = {"fine-tuning": sft(student, prepared, folder), "ours": lambda: trainer.compute_loss(student, prepared)}
    return {name: partial(step, way) for name, way in ways.items()}


def main() -> None:
    if not torch.cuda.is_available():
        print("tests.bench.gpu: there is no NVIDIA GPU here, so nothing was measured")
        return
    torch.manual_seed(0)
    with torch.device("cuda"):
        model = AutoModelForCausalLM.from_config(QWEN, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    model.requires_grad_(False)
    with tempfile.TemporaryDirectory() as folder:
        parts = {
            "capture": captures,
            f"loss, {TOKENS:,} tokens": losses,
            "training step": partial(steps, folder=Path(folder)),
        }
        for title, part in parts.items():
            measurements = {name: measured(work) for name, work in part(model).items()}
            first = next(iter(measurements.values()))
            print(title, torch.cuda.get_device_name(), sep=", ")
            rows = [{"way": n, **m, "of the first": m["seconds"] / first["seconds"]} for n, m in measurements.items()]
            print(table(rows))


if __name__ == "__main__":
    main()
