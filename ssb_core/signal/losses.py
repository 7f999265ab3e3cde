"""Exact divergences between two models that share a frozen head, from their final hidden states.

No tensor of shape (batch, sequence, vocabulary) is ever made. Solution tokens are gathered first and go through the
head in chunks. The gradient of a chunk is taken while its distributions are in memory, so that nothing is computed
twice and the frozen head gets no gradient. Peak extra memory is O(chunk x V), whatever the number N of tokens.

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
from .teachers import LogProbs, NoTeacher, Teacher, capped, log_softmax

ChunkLoss = Callable[[torch.Tensor, LogProbs, slice], tuple[torch.Tensor, torch.Tensor]]
"""From the student's logits (C, V), the teacher and the chunk's slice: the loss and its gradient by those logits."""


def chunk_size(head_VH: torch.Tensor) -> int:
    """The default number of tokens in a chunk: as many as have logits of 64 MiB in float32.

    Smaller chunks would read a large head from memory more often. malloc returns blocks above 32 MiB to the system at
    once, so that memory does not grow with the number of tokens.
    """
    return -(-(2**26) // (4 * len(head_VH)))


def chunks(n: int, size: int) -> Iterator[slice]:
    """Split `n` tokens into the fewest chunks of at most `size`, all of about the same size."""
    even = -(-n // max(1, -(-n // size)))
    return (slice(at, at + even) for at in range(0, n, max(1, even)))


def divergence(
    student_NH: torch.Tensor,
    teacher: Teacher,
    head_VH: torch.Tensor,
    objective: Objective,
    token_N: torch.Tensor | None = None,
    chunk: int | None = None,
    soft_cap: float | None = None,
) -> torch.Tensor:
    """The distillation objective, a scalar in nats. Gradients reach `student_NH` only.

    `token_N` (int64) is needed for cross-entropy alone. `chunk` is the number of tokens in a chunk, by default
    `chunk_size`. It takes two products of the head with the student's states, and one with the teacher's if the teacher
    is stored as hidden states and the objective is not cross-entropy alone.

    Raises:
        ValueError: `objective` has a cross-entropy term, but there are no tokens.
    """
    if objective.cross_entropy and token_N is None:
        raise ValueError("cross-entropy needs the tokens of the solutions")
    t, share = objective.temperature, objective.cross_entropy
    if share == 1:
        teacher = NoTeacher()

    def chunk_loss(student_CV: torch.Tensor, log_teacher: LogProbs, tokens: slice) -> tuple[torch.Tensor, torch.Tensor]:
        if share == 1 and token_N is not None:
            return _cross_entropy(student_CV, token_N[tokens])
        entropy_term = _cross_entropy(student_CV.clone(), token_N[tokens]) if share and token_N is not None else None
        log_s_CV = log_softmax(student_CV.div_(t))
        log_t_CV = log_teacher(log_s_CV, t)
        value_C, grad_CV = _DIVERGENCES[objective.divergence](log_s_CV, log_t_CV, objective.beta)
        value, grad_CV = value_C.double().sum() * t * t, grad_CV.mul_(t)  # d (z / T) / d z = 1 / T, times T^2
        if entropy_term is None:
            return value, grad_CV
        return (1 - share) * value + share * entropy_term[0], grad_CV.mul_(1 - share).add_(entropy_term[1], alpha=share)

    size = chunk or chunk_size(head_VH)
    loss: torch.Tensor = _ThroughHead.apply(student_NH, teacher, head_VH, chunk_loss, size, soft_cap)
    return loss


class _ThroughHead(torch.autograd.Function):
    """The sum of `chunk_loss` over chunks of tokens, with the gradient by the student's states."""

    @staticmethod
    def forward(
        ctx: Any,
        student_NH: torch.Tensor,
        teacher: Teacher,
        head_VH: torch.Tensor,
        chunk_loss: ChunkLoss,
        size: int,
        soft_cap: float | None,
    ) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64, device=student_NH.device)
        grad_NH = torch.empty_like(student_NH)
        for chunk in chunks(len(student_NH), size):
            uncapped_CV, log_teacher = teacher.student_logits_and_teacher(student_NH[chunk], chunk, head_VH, soft_cap)
            value, grad_CV = chunk_loss(capped(uncapped_CV, soft_cap), log_teacher, chunk)
            total += value
            if soft_cap is not None:  # d c tanh(u / c) / d u = 1 - tanh^2(u / c); with a cap, u was not overwritten
                grad_CV *= 1 - (uncapped_CV / soft_cap).tanh() ** 2
            if ctx.needs_input_grad[0]:
                grad_NH[chunk] = (grad_CV.to(head_VH.dtype) @ head_VH).to(grad_NH.dtype)
            del uncapped_CV, log_teacher, grad_CV  # free them before the next chunk
        ctx.save_for_backward(grad_NH)
        return total.to(torch.promote_types(student_NH.dtype, torch.float32))

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (grad_NH,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_NH * grads[0].to(grad_NH.dtype), None, None, None, None, None


# The functions below may overwrite their (C, V) arguments: their tensors decide the memory of a chunk.


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
    # log m = log s + log(1 - b) + softplus(log t - log s + logit b); its constant is kept out of sums that cancel.
    mixed_CV = softplus(ratio_CV + math.log(beta / (1 - beta)), threshold=40)
    value_C = beta * vecdot(p_t_CV, ratio_CV.sub_(mixed_CV)) - math.log1p(-beta)
    mean_C, grad_CV = _by_student(log_s_CV, mixed_CV.mul_(beta - 1))  # the gradient by m itself cancels
    return value_C + mean_C, grad_CV


def _by_student(log_s_CV: torch.Tensor, gap_CV: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The mean of `gap_CV` under the student, and its gradient by the student's tempered logits with `gap_CV` fixed."""
    p_s_CV = log_s_CV.exp_()
    mean_C = vecdot(p_s_CV, gap_CV)
    return mean_C, gap_CV.sub_(mean_C[:, None]).mul_(p_s_CV)


def _cross_entropy(logits_CV: torch.Tensor, token_C: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The sum over tokens, and its gradient by the logits."""
    log_CV, token_C1 = log_softmax(logits_CV), token_C[:, None]
    value = -log_CV.gather(-1, token_C1).double().sum()
    return value, log_CV.exp_().scatter_add_(-1, token_C1, torch.full_like(token_C1, -1, dtype=log_CV.dtype))


_DIVERGENCES = {"forward_kl": _forward_kl, "reverse_kl": _reverse_kl, "jsd": _jsd}
