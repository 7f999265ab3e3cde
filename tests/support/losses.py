"""Losses by their textbook formulas over full float64 logits, and random states to compare them at."""

from __future__ import annotations

import math
import sys

import torch

from ssb_core.config import Objective


def textbook_loss(
    student_NH: torch.Tensor,
    teacher_NH: torch.Tensor,
    head_VH: torch.Tensor,
    o: Objective,
    token_N: torch.Tensor,
    cap: float | None = None,
) -> torch.Tensor:
    """The objective from full distributions in float64, differentiated by autograd."""
    student, teacher = (hidden.double() @ head_VH.double().T for hidden in (student_NH, teacher_NH))
    if cap is not None:
        student, teacher = cap * (student / cap).tanh(), cap * (teacher / cap).tanh()
    s, t = (student / o.temperature).softmax(-1), (teacher / o.temperature).softmax(-1)
    match o.divergence:
        case "forward_kl":
            value = t * (t / s).log()
        case "reverse_kl":
            value = s * (s / t).log()
        case _:
            m = o.beta * t + (1 - o.beta) * s
            value = o.beta * t * (t / m).log() + (1 - o.beta) * s * (s / m).log()
    crossed = -student.log_softmax(-1)[torch.arange(len(token_N)), token_N].sum()
    return (1 - o.cross_entropy) * o.temperature**2 * value.sum() + o.cross_entropy * crossed


def random_states(n: int, h: int = 16, v: int = 97, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, ...]:
    """Student (n, h), teacher (n, h), head (v, h) and tokens (n); logits have a standard deviation of 4."""
    draw = torch.Generator().manual_seed(n)
    shapes = ((n, h), (n, h), (v, h))
    made = [torch.randn(*shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]
    return (*made, torch.randint(v, (n,), generator=draw))


def relative_error(loss: torch.Tensor, expected: torch.Tensor, got: torch.Tensor, exact: torch.Tensor) -> float:
    """The relative error of the loss or of its gradient (by its norm), whichever is larger.

    `got` and `exact` are the leaves that `loss` and `expected` are differentiated by.
    """
    loss.backward()
    expected.backward()
    assert got.grad is not None and exact.grad is not None
    value = abs(loss.item() - expected.item()) / max(abs(expected.item()), sys.float_info.min)
    gradient = (got.grad.double() - exact.grad).norm().item() / max(exact.grad.norm().item(), sys.float_info.min)
    assert math.isfinite(value) and math.isfinite(gradient)
    return max(value, gradient)
