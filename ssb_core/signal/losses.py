"""Exact divergences between two models that share a frozen head, from their final hidden states.

Nothing of shape (batch, sequence, vocabulary) is ever made: solution tokens are gathered first, go through the head in
chunks, and the gradient of a chunk is taken while its distributions are at hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import FunctionCtx


def forward_kl(
    student_NH: torch.Tensor, teacher_NH: torch.Tensor, head_VH: torch.Tensor, temperature: float, chunk: int = 256
) -> torch.Tensor:
    """Sum over N tokens of ``T^2 KL(teacher || student)`` in nats at temperature T (paper, equation 3), a scalar.

    Both distributions are softmax(h W^T / T) over all V rows of the head. Gradients reach `student_NH` only.
    Peak extra memory is O(chunk x V), whatever N is.
    """
    loss: torch.Tensor = _ForwardKL.apply(student_NH, teacher_NH, head_VH, temperature, chunk)
    return loss


class _ForwardKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, student_NH: torch.Tensor, teacher_NH: torch.Tensor, head_VH: torch.Tensor, t: float, chunk: int
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64, device=student_NH.device)
        grad_NH = torch.empty_like(student_NH)
        for at in range(0, len(student_NH), chunk):
            part = slice(at, at + chunk)
            log_s_CV = log_probs(student_NH[part], head_VH, t)
            log_t_CV = log_probs(teacher_NH[part], head_VH, t)
            p_t_CV = log_t_CV.exp()
            total += (p_t_CV * (log_t_CV - log_s_CV)).sum(-1).double().sum()
            # d KL / d h_S = (p_S - p_T) W / T; times T^2
            grad_NH[part] = ((log_s_CV.exp() - p_t_CV).to(head_VH.dtype) @ head_VH * t).to(grad_NH.dtype)
        ctx.save_for_backward(grad_NH)
        return (total * t * t).to(torch.promote_types(student_NH.dtype, torch.float32))

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad_NH,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_NH * grads[0].to(grad_NH.dtype), None, None, None, None


def log_probs(hidden_NH: torch.Tensor, head_VH: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probabilities (N, V) at `temperature`, at least in float32."""
    logits_NV = hidden_NH.to(head_VH.dtype) @ head_VH.T
    return (logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32)) / temperature).log_softmax(-1)
