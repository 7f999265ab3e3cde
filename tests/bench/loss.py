"""``python -m tests.bench.loss WAY TOKENS``: seconds and peak memory of one loss, forward and backward, as JSON.

At the shape of Qwen2.5-3B's head, in float32 on the CPU, for TOKENS reply tokens in sequences whose first third is
prompt. WAY is ``reference`` (dense teacher logits in a (batch, sequence, vocabulary) tensor and softmaxes over all
positions, masked afterwards), ``teacher`` (`divergence`, from the teacher's hidden states), ``cached``
(`cached_forward_kl`, from its means) or ``cross_entropy`` (of the same tokens, in the same chunks). What the teacher's
signal takes counts as memory, making it counts for nothing.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import kl_div

from ssb_core.config import Objective
from ssb_core.signal.losses import chunk_size, divergence
from ssb_core.signal.teachers import HiddenStates
from tests.bench.cached_kl import cached_forward_kl, teacher_means

HIDDEN, VOCABULARY, BATCH, T = 2048, 151_936, 4, 2.0
Loss = Callable[[torch.Tensor], torch.Tensor]  # of the student's (batch, sequence, HIDDEN) states


def reference(teacher_NH: torch.Tensor, head_VH: torch.Tensor, reply_BS: torch.Tensor) -> Loss:
    teacher_BSV = torch.zeros(*reply_BS.shape, len(head_VH))
    rows, columns = reply_BS.nonzero(as_tuple=True)
    for row, column, teacher_H in zip(rows, columns, teacher_NH, strict=True):
        teacher_BSV[row, column] = head_VH @ teacher_H

    def loss(student_BSH: torch.Tensor) -> torch.Tensor:
        log_s_BSV = (student_BSH @ head_VH.T / T).log_softmax(-1)
        p_t_BSV = (teacher_BSV / T).softmax(-1)
        kl_BS = kl_div(log_s_BSV, p_t_BSV, reduction="none").sum(-1)
        return (kl_BS * reply_BS).sum() * T * T

    return loss


def teacher(teacher_NH: torch.Tensor, head_VH: torch.Tensor, reply_BS: torch.Tensor) -> Loss:
    return lambda student_BSH: divergence(
        student_BSH[reply_BS], HiddenStates(teacher_NH), head_VH, Objective(temperature=T)
    )


def cached(teacher_NH: torch.Tensor, head_VH: torch.Tensor, reply_BS: torch.Tensor) -> Loss:
    mean_NH, entropy_N = teacher_means(teacher_NH, head_VH, T)
    return lambda student_BSH: cached_forward_kl(student_BSH[reply_BS], mean_NH, entropy_N, head_VH, T)


def cross_entropy(teacher_NH: torch.Tensor, head_VH: torch.Tensor, reply_BS: torch.Tensor) -> Loss:
    token_N = torch.arange(len(teacher_NH)) % len(head_VH)
    return lambda student_BSH: ChunkedCrossEntropy.apply(student_BSH[reply_BS], head_VH, token_N)


class ChunkedCrossEntropy(torch.autograd.Function):
    """Two head products and no softmax but one, the gradient taken in the forward pass."""

    @staticmethod
    def forward(ctx: Any, student_NH: torch.Tensor, head_VH: torch.Tensor, token_N: torch.Tensor) -> torch.Tensor:
        total, grad_NH, chunk = torch.zeros(()), torch.empty_like(student_NH), chunk_size(head_VH)
        for at in range(0, len(student_NH), chunk):
            part = slice(at, at + chunk)
            logits_CV, token_C1 = student_NH[part] @ head_VH.T, token_N[part, None]
            norm_C1 = logits_CV.logsumexp(-1, keepdim=True)
            total += (norm_C1 - logits_CV.gather(-1, token_C1)).sum()
            p_CV = logits_CV.sub_(norm_C1).exp_()
            p_CV.scatter_add_(-1, token_C1, -torch.ones_like(norm_C1))
            grad_NH[part] = p_CV @ head_VH
        ctx.save_for_backward(grad_NH)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return ctx.saved_tensors[0] * grads[0], None, None


WAYS = {"reference": reference, "teacher": teacher, "cached": cached, "cross_entropy": cross_entropy}


def resident(field: str) -> int:
    """``VmRSS``, or ``VmHWM``, its largest value since it was reset; in bytes."""
    line = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert line
    return 1024 * int(line[1])


def main() -> None:
    way, tokens = sys.argv[1], int(sys.argv[2])
    torch.manual_seed(0)
    length = 3 * tokens // (2 * BATCH)  # with the prompt
    reply_BS = (torch.arange(length) >= length - tokens // BATCH).expand(BATCH, length)
    head_VH = torch.randn(VOCABULARY, HIDDEN) * HIDDEN**-0.5
    student_BSH = (2 * torch.randn(BATCH, length, HIDDEN)).requires_grad_()
    teacher_NH = 2 * torch.randn(int(reply_BS.sum()), HIDDEN)
    assert len(teacher_NH) == tokens
    warm_NH = teacher_NH[: chunk_size(head_VH)].clone().requires_grad_()  # threads and buffers of the library
    cached_forward_kl(warm_NH, *teacher_means(warm_NH.detach(), head_VH, T), head_VH, T).backward()
    before = resident("VmRSS")
    loss = WAYS[way](teacher_NH, head_VH, reply_BS)
    Path("/proc/self/clear_refs").write_text("5")
    started = time.perf_counter()
    value = loss(student_BSH)
    value.backward()
    seconds = time.perf_counter() - started
    print(json.dumps({"loss": value.item(), "seconds": seconds, "bytes": resident("VmHWM") - before}))


if __name__ == "__main__":
    main()
