"""Exact divergences between two models that share a frozen head, from their final hidden states.

Nothing of shape (batch, sequence, vocabulary) is ever made: solution tokens are gathered first, go through the head in
chunks, and the gradient of a chunk is taken while its distributions are at hand, so that nothing is computed twice and
the frozen head has no gradient. Peak extra memory is O(chunk x V), whatever the number N of tokens is.

All distributions are softmax(z / T) over all V rows of the head, at least in float32, where z is h W^T, or
c tanh(h W^T / c) for a model with the soft cap c. Losses are sums over N tokens, in nats.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.autograd.function import FunctionCtx
from torch.linalg import vecdot
from torch.nn.functional import softplus

from ..config import Objective
from .teachers import LogProbs, Nobody, Teacher, capped, log_probs, normalise

Chunk = Callable[[torch.Tensor, LogProbs, slice], tuple[torch.Tensor, torch.Tensor]]


def chunk_of(head_VH: torch.Tensor) -> int:
    """Tokens in a chunk unless asked otherwise: so many that their logits take 64 MiB in float32.

    Fewer would read a large head from memory more often. What is larger than 32 MiB, malloc hands back at once, so that
    memory does not grow with the tokens.
    """
    return -(-(2**26) // (4 * len(head_VH)))


def parts(n: int, chunk: int) -> Iterator[slice]:
    """`n` tokens in as few parts of at most `chunk` as it takes, all of about the same size."""
    size = -(-n // max(1, -(-n // chunk)))
    return (slice(at, at + size) for at in range(0, n, max(1, size)))


def divergence(
    student_NH: torch.Tensor,
    teacher: Teacher,
    head_VH: torch.Tensor,
    objective: Objective,
    token_N: torch.Tensor | None = None,
    chunk: int | None = None,
    soft_cap: float | None = None,
) -> torch.Tensor:
    """The objective, a scalar; gradients reach `student_NH` only. `token_N` is needed for cross-entropy alone.

    Two head products with the student's states, and one with the teacher's if those are what the teacher is made of and
    the objective is not cross-entropy alone.

    Raises:
        ValueError: `objective` asks for cross-entropy, and there are no tokens.
    """
    if objective.cross_entropy and token_N is None:
        raise ValueError("cross-entropy needs the tokens that the teacher wrote")
    t, share = objective.temperature, objective.cross_entropy
    if share == 1:
        teacher = Nobody()

    def of(student_CV: torch.Tensor, log_teacher: LogProbs, part: slice) -> tuple[torch.Tensor, torch.Tensor]:
        if share == 1 and token_N is not None:
            return _cross_entropy(student_CV, token_N[part])
        crossed = _cross_entropy(student_CV.clone(), token_N[part]) if share and token_N is not None else None
        log_s_CV = normalise(student_CV.div_(t))
        log_t_CV = log_teacher(log_s_CV, t)
        value_C, slope_CV = _DIVERGENCES[objective.divergence](log_s_CV, log_t_CV, objective.beta)
        value, slope_CV = value_C.double().sum() * t * t, slope_CV.mul_(t)  # d (z / T) / d z = 1 / T, times T^2
        if crossed is None:
            return value, slope_CV
        return (1 - share) * value + share * crossed[0], slope_CV.mul_(1 - share).add_(crossed[1], alpha=share)

    loss: torch.Tensor = _ThroughHead.apply(student_NH, teacher, head_VH, of, chunk or chunk_of(head_VH), soft_cap)
    return loss


def cached_forward_kl(
    student_NH: torch.Tensor,
    mean_NH: torch.Tensor,
    entropy_N: torch.Tensor,
    head_VH: torch.Tensor,
    temperature: float,
    chunk: int | None = None,
) -> torch.Tensor:
    """``T^2 KL(teacher || student)`` from what `teacher_means` gives at this temperature, without the teacher's logits.

    With a frozen head, KL = logsumexp(z_S / T) - <h_S, c> / T - H(p_T) and its slope is (p_S W - c) / T: what
    cross-entropy costs. Heads with a soft cap have no such identity.

    Raises:
        ValueError: the head has 16 bits.
    """
    _refuse_rounded(head_VH)
    loss: torch.Tensor = _CachedForwardKL.apply(
        student_NH, mean_NH, entropy_N, head_VH, temperature, chunk or chunk_of(head_VH)
    )
    return loss


def teacher_means(
    teacher_NH: torch.Tensor, head_VH: torch.Tensor, temperature: float, chunk: int | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """The teacher's mean head row c = p_T W (N, H) and its entropy H(p_T) (N) in nats, in the head's dtype.

    Raises:
        ValueError: the head has 16 bits.
    """
    _refuse_rounded(head_VH)
    mean_NH = torch.empty(teacher_NH.shape, dtype=head_VH.dtype, device=teacher_NH.device)
    entropy_N = torch.empty(len(teacher_NH), dtype=head_VH.dtype, device=teacher_NH.device)
    for part in parts(len(teacher_NH), chunk or chunk_of(head_VH)):
        log_CV = log_probs(teacher_NH[part], head_VH, temperature)
        p_CV = log_CV.exp()
        entropy_N[part] = -vecdot(p_CV, log_CV)
        mean_NH[part] = p_CV @ head_VH
        del log_CV, p_CV  # before the next ones are made
    return mean_NH, entropy_N


class _ThroughHead(torch.autograd.Function):
    """Sum over chunks of what `of` makes of the student's logits: a value, and its slope by those logits."""

    @staticmethod
    def forward(
        ctx: Any,
        student_NH: torch.Tensor,
        teacher: Teacher,
        head_VH: torch.Tensor,
        of: Chunk,
        chunk: int,
        soft_cap: float | None,
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64, device=student_NH.device)
        grad_NH = torch.empty_like(student_NH)
        for part in parts(len(student_NH), chunk):
            uncapped_CV, log_teacher = teacher.meet(student_NH[part], part, head_VH, soft_cap)
            value, slope_CV = of(capped(uncapped_CV, soft_cap), log_teacher, part)
            total += value
            if soft_cap is not None:  # d c tanh(u / c) / d u = 1 - tanh^2(u / c); nothing has overwritten u then
                slope_CV *= 1 - (uncapped_CV / soft_cap).tanh() ** 2
            if ctx.needs_input_grad[0]:
                grad_NH[part] = (slope_CV.to(head_VH.dtype) @ head_VH).to(grad_NH.dtype)
            del uncapped_CV, log_teacher, slope_CV  # before the next ones are made
        ctx.save_for_backward(grad_NH)
        return total.to(torch.promote_types(student_NH.dtype, torch.float32))

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad_NH,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_NH * grads[0].to(grad_NH.dtype), None, None, None, None, None


class _CachedForwardKL(torch.autograd.Function):
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
        for part in parts(len(student_NH), chunk):
            tempered_CV = (student_NH[part].to(head_VH.dtype) @ head_VH.T).div_(t)
            top_C1 = tempered_CV.amax(-1, keepdim=True)
            p_CV = tempered_CV.sub_(top_C1).exp_()
            mass_C1 = p_CV.sum(-1, keepdim=True)
            p_CV.div_(mass_C1)
            # Terms as large as the logits cancel here, so they are added up in float64.
            norm_C = (mass_C1.double().log() + top_C1.double())[:, 0]
            agreed_C = vecdot(student_NH[part].double(), mean_NH[part].double()) / t
            total += (norm_C - agreed_C - entropy_N[part].double()).sum()
            grad_NH[part] = ((p_CV @ head_VH - mean_NH[part]) * t).to(grad_NH.dtype)
            del tempered_CV, p_CV  # before the next ones are made
        ctx.save_for_backward(grad_NH)
        return (total * t * t).to(torch.promote_types(student_NH.dtype, torch.float32))

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad_NH,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_NH * grads[0].to(grad_NH.dtype), None, None, None, None, None


# Below, (C, V) arguments may be overwritten: a chunk's memory is what these functions hold at once.


def _forward_kl(log_s_CV: torch.Tensor, log_t_CV: torch.Tensor, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    p_t_CV = log_t_CV.exp()
    value_C = log_t_CV.sub_(log_s_CV).mul_(p_t_CV).sum(-1)
    return value_C, log_s_CV.exp_().sub_(p_t_CV)


def _reverse_kl(log_s_CV: torch.Tensor, log_t_CV: torch.Tensor, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    gap_CV = log_t_CV.neg_().add_(log_s_CV)
    return _by_student(log_s_CV, gap_CV)


def _jsd(log_s_CV: torch.Tensor, log_t_CV: torch.Tensor, beta: float) -> tuple[torch.Tensor, torch.Tensor]:
    p_t_CV = log_t_CV.exp()
    ratio_CV = log_t_CV.sub_(log_s_CV)
    # log m = log s + log(1 - b) + softplus(log t - log s + logit b); its constant stays out of sums that cancel.
    mixed_CV = softplus(ratio_CV + math.log(beta / (1 - beta)), threshold=40)
    value_C = beta * vecdot(p_t_CV, ratio_CV.sub_(mixed_CV)) - math.log1p(-beta)
    mean_C, slope_CV = _by_student(log_s_CV, mixed_CV.mul_(beta - 1))  # the slope of m itself cancels
    return value_C + mean_C, slope_CV


def _by_student(log_s_CV: torch.Tensor, gap_CV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of `gap_CV` under the student, and its slope by the student's tempered logits, `gap_CV` held fixed."""
    p_s_CV = log_s_CV.exp_()
    mean_C = vecdot(p_s_CV, gap_CV)
    return mean_C, gap_CV.sub_(mean_C[:, None]).mul_(p_s_CV)


def _cross_entropy(logits_CV: torch.Tensor, token_C: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum over tokens, and its slope by the logits."""
    log_CV, token_C1 = normalise(logits_CV), token_C[:, None]
    value = -log_CV.gather(-1, token_C1).double().sum()
    return value, log_CV.exp_().scatter_add_(-1, token_C1, torch.full_like(token_C1, -1, dtype=log_CV.dtype))


_DIVERGENCES = {"forward_kl": _forward_kl, "reverse_kl": _reverse_kl, "jsd": _jsd}


def _refuse_rounded(head_VH: torch.Tensor) -> None:
    if head_VH.dtype.itemsize < 4:
        raise ValueError(
            f"means of head rows in {head_VH.dtype} differ by less than their own rounding once the student is near "
            "the teacher; use `divergence`, which subtracts distributions first"
        )
