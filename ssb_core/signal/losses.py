"""Exact divergences between two models that share a frozen head, from their final hidden states.

Nothing of shape (batch, sequence, vocabulary) is ever made: solution tokens are gathered first, go through the head in
chunks, and the gradient of a chunk is taken while its distributions are at hand.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import FunctionCtx


def forward_kl(
    student_NH: torch.Tensor,
    teacher_NH: torch.Tensor,
    head_VH: torch.Tensor,
    temperature: float,
    chunk: int = 256,
    soft_cap: float | None = None,
) -> torch.Tensor:
    """Sum over N tokens of ``T^2 KL(teacher || student)`` in nats at temperature T (paper, equation 3), a scalar.

    Both distributions are softmax(z / T) over all V rows of the head, where z is h W^T, or c tanh(h W^T / c) for a
    model with the soft cap c. Gradients reach `student_NH` only. Peak extra memory is O(chunk x V), whatever N is.
    """
    loss: torch.Tensor = _ForwardKL.apply(student_NH, teacher_NH, head_VH, temperature, chunk, soft_cap)
    return loss


class _ForwardKL(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        student_NH: torch.Tensor,
        teacher_NH: torch.Tensor,
        head_VH: torch.Tensor,
        t: float,
        chunk: int,
        soft_cap: float | None,
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64, device=student_NH.device)
        grad_NH = torch.empty_like(student_NH)
        for at in range(0, len(student_NH), chunk):
            part = slice(at, at + chunk)
            uncapped_CV = student_NH[part].to(head_VH.dtype) @ head_VH.T
            log_s_CV = _tempered(uncapped_CV, t, soft_cap)
            log_t_CV = log_probs(teacher_NH[part], head_VH, t, soft_cap)
            p_t_CV = log_t_CV.exp()
            total += (p_t_CV * (log_t_CV - log_s_CV)).sum(-1).double().sum()
            # d KL / d z_S = (p_S - p_T) / T; times T^2
            slope_CV = log_s_CV.exp() - p_t_CV
            if soft_cap is not None:  # d c tanh(u / c) / d u = 1 - tanh^2(u / c)
                slope_CV *= 1 - (_wide(uncapped_CV) / soft_cap).tanh() ** 2
            grad_NH[part] = (slope_CV.to(head_VH.dtype) @ head_VH * t).to(grad_NH.dtype)
        ctx.save_for_backward(grad_NH)
        return (total * t * t).to(torch.promote_types(student_NH.dtype, torch.float32))

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad_NH,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_NH * grads[0].to(grad_NH.dtype), None, None, None, None, None


def log_probs(
    hidden_NH: torch.Tensor, head_VH: torch.Tensor, temperature: float, soft_cap: float | None = None
) -> torch.Tensor:
    """Log-probabilities (N, V) at `temperature`, at least in float32."""
    return _tempered(hidden_NH.to(head_VH.dtype) @ head_VH.T, temperature, soft_cap)


def _tempered(logits_NV: torch.Tensor, temperature: float, soft_cap: float | None) -> torch.Tensor:
    if soft_cap is not None:  # in the logits' own precision, as the model does, which rounds alike
        logits_NV = (logits_NV / soft_cap).tanh() * soft_cap
    return (_wide(logits_NV) / temperature).log_softmax(-1)


def _wide(logits_NV: torch.Tensor) -> torch.Tensor:
    return logits_NV.to(torch.promote_types(logits_NV.dtype, torch.float32))
