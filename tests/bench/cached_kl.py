"""Forward KL through a frozen head from cached means of the teacher, which `tests.bench.loss` measures.

The teacher's mean head row and entropy at a fixed temperature are enough to compute forward KL and its gradient, at the
cost of cross-entropy. The stages use `ssb_core.signal.losses.divergence` instead: it is exact for 16-bit heads too, and
its signal can be read at any temperature.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.autograd.function import FunctionCtx
from torch.linalg import vecdot

from ssb_core.signal.losses import chunk_size, chunks
from ssb_core.signal.teachers import log_probs


def cached_forward_kl(
    student_NH: torch.Tensor,
    mean_NH: torch.Tensor,
    entropy_N: torch.Tensor,
    head_VH: torch.Tensor,
    temperature: float,
    chunk: int | None = None,
) -> torch.Tensor:
    """``T^2 KL(teacher || student)`` from the result of `teacher_means` at this temperature.

    With a frozen head, KL = logsumexp(z_S / T) - <h_S, c> / T - H(p_T) and its gradient by h_S is (p_S W - c) / T.
    Without the teacher's logits it costs what cross-entropy costs. The identity fails for heads with a soft cap.

    Raises:
        ValueError: the head is stored in 16 bits.
    """
    _refuse_rounded(head_VH)
    loss: torch.Tensor = _CachedForwardKL.apply(
        student_NH, mean_NH, entropy_N, head_VH, temperature, chunk or chunk_size(head_VH)
    )
    return loss


def teacher_means(
    teacher_NH: torch.Tensor, head_VH: torch.Tensor, temperature: float, chunk: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's mean head row c = p_T W (N, H) and its entropy H(p_T) (N) in nats, in the head's dtype.

    Raises:
        ValueError: the head is stored in 16 bits.
    """
    _refuse_rounded(head_VH)
    mean_NH = torch.empty(teacher_NH.shape, dtype=head_VH.dtype, device=teacher_NH.device)
    entropy_N = torch.empty(len(teacher_NH), dtype=head_VH.dtype, device=teacher_NH.device)
    for tokens in chunks(len(teacher_NH), chunk or chunk_size(head_VH)):
        log_CV = log_probs(teacher_NH[tokens], head_VH, temperature)
        p_CV = log_CV.exp()
        entropy_N[tokens] = -vecdot(p_CV, log_CV)
        mean_NH[tokens] = p_CV @ head_VH
        del log_CV, p_CV  # free them before the next chunk
    return mean_NH, entropy_N


class _CachedForwardKL(torch.autograd.Function):
    """The identity over chunks of tokens, with the gradient by the student's states."""

    @staticmethod
    def forward(
        ctx: Any,
        student_NH: torch.Tensor,
        mean_NH: torch.Tensor,
        entropy_N: torch.Tensor,
        head_VH: torch.Tensor,
        t: float,
        chunk: int,
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64, device=student_NH.device)
        grad_NH = torch.empty_like(student_NH)
        for tokens in chunks(len(student_NH), chunk):
            tempered_CV = (student_NH[tokens].to(head_VH.dtype) @ head_VH.T).div_(t)
            top_C1 = tempered_CV.amax(-1, keepdim=True)
            p_CV = tempered_CV.sub_(top_C1).exp_()
            mass_C1 = p_CV.sum(-1, keepdim=True)
            p_CV.div_(mass_C1)
            # Terms as large as the logits cancel here, so they are summed in float64.
            norm_C = (mass_C1.double().log() + top_C1.double())[:, 0]
            agreed_C = vecdot(student_NH[tokens].double(), mean_NH[tokens].double()) / t
            total += (norm_C - agreed_C - entropy_N[tokens].double()).sum()
            grad_NH[tokens] = ((p_CV @ head_VH - mean_NH[tokens]) * t).to(grad_NH.dtype)
            del tempered_CV, p_CV  # free them before the next chunk
        ctx.save_for_backward(grad_NH)
        return (total * t * t).to(torch.promote_types(student_NH.dtype, torch.float32))

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad_NH,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_NH * grads[0].to(grad_NH.dtype), None, None, None, None, None


def _refuse_rounded(head_VH: torch.Tensor) -> None:
    if head_VH.dtype.itemsize < 4:
        raise ValueError(
            f"means of head rows in {head_VH.dtype} differ by less than their own rounding once the student is near "
            "the teacher; use `divergence`, which subtracts distributions first"
        )
