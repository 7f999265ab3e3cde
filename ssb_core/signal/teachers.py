"""The teacher's distributions at N tokens, in the form in which they were stored, behind the interface of the losses.

`HiddenStates` and `Dense` hold whole distributions. `TopK` holds the most probable tokens and the mass of the rest.
`NoTeacher` stands in where the objective is cross-entropy alone, which needs no distributions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

LogProbs = Callable[[torch.Tensor, float], torch.Tensor]
"""The teacher's log-probabilities (C, V), from the student's at the same C tokens and the temperature of both."""


class Teacher(Protocol):
    """Distributions at N tokens, read in chunks of C tokens."""

    def student_logits_and_teacher(
        self, student_CH: torch.Tensor, chunk: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        """For the tokens of `chunk`: the student's logits (C, V) before any cap, and the teacher's log-probabilities.

        The latter is a function of the student's log-probabilities (C, V) and the temperature. Call it once.
        """

    def log_probs(
        self, fill_NV: torch.Tensor, temperature: float, head_VH: torch.Tensor, soft_cap: float | None
    ) -> torch.Tensor:
        """The teacher's own log-probabilities (N, V), rounded as the model rounds them.

        `fill_NV` are log-probabilities that stand in for those that are not stored.
        """


@dataclass(frozen=True)
class HiddenStates:
    """The exact distributions, from the hidden states (N, H) that the shared head reads."""

    states_NH: torch.Tensor

    def student_logits_and_teacher(
        self, student_CH: torch.Tensor, chunk: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        """The student's logits are the teacher's plus the head's product with the difference of the two states.

        A 16-bit head rounds its products in proportion to their size. Here both models share the rounding of the large
        term, and their difference is as exact as if computed alone, however close the student comes to the teacher.
        """
        teacher_CH = self.states_NH[chunk]
        teacher_CV = logits(teacher_CH, head_VH)
        student_CV = logits(upcast(student_CH) - upcast(teacher_CH), head_VH).add_(teacher_CV)
        return student_CV, lambda log_s_CV, t: log_softmax(capped(teacher_CV, soft_cap).div_(t))

    def log_probs(
        self, fill_NV: torch.Tensor, temperature: float, head_VH: torch.Tensor, soft_cap: float | None
    ) -> torch.Tensor:
        return log_probs(self.states_NH.to(head_VH.device), head_VH, temperature, soft_cap)


@dataclass(frozen=True)
class Dense:
    """Stored log-probabilities (N, V) at temperature 1."""

    log_probs_NV: torch.Tensor

    def student_logits_and_teacher(
        self, student_CH: torch.Tensor, chunk: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        return logits(student_CH, head_VH), lambda log_s_CV, t: log_softmax(upcast(self.log_probs_NV[chunk]) / t)

    def log_probs(
        self, fill_NV: torch.Tensor, temperature: float, head_VH: torch.Tensor, soft_cap: float | None
    ) -> torch.Tensor:
        return log_softmax(upcast(self.log_probs_NV.to(fill_NV.device)) / temperature)


@dataclass(frozen=True)
class TopK:
    """The K most probable tokens (N, K) with their log-probabilities at temperature 1, and the mass of the rest.

    `lse_N` is the log-sum-exp over all V log-probabilities divided by `temperature`, so that the mass of the other
    tokens is known at temperature 1 and at `temperature`. How that mass is shared among them is not known, and is taken
    from the student. Forward KL is then that of the K tokens and one bucket for the rest: the largest lower bound that
    the stored values allow.
    """

    ids_NK: torch.Tensor
    log_probs_NK: torch.Tensor
    lse_N: torch.Tensor
    temperature: float

    def student_logits_and_teacher(
        self, student_CH: torch.Tensor, chunk: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        return logits(student_CH, head_VH), lambda log_s_CV, t: self._filled(log_s_CV, chunk, t)

    def log_probs(
        self, fill_NV: torch.Tensor, temperature: float, head_VH: torch.Tensor, soft_cap: float | None
    ) -> torch.Tensor:
        return self._filled(fill_NV, slice(None), temperature)

    def _filled(self, fill_CV: torch.Tensor, chunk: slice, t: float) -> torch.Tensor:
        if t not in (1.0, self.temperature):
            raise ValueError(f"top-k signal was captured for temperature 1 and {self.temperature}, not for {t}")
        ids_CK, top_CK, norm_C = (x[chunk].to(fill_CV.device) for x in (self.ids_NK, self.log_probs_NK, self.lse_N))
        ids_CK, dtype = ids_CK.long(), fill_CV.dtype
        log_top_CK = top_CK.double() / t - (norm_C.double() * (t != 1.0))[:, None]
        rest_C = (1 - log_top_CK.exp().sum(-1)).clamp(min=1e-12).log()  # rounding may give 0 or less
        p_rest_CV = fill_CV.exp().scatter_(-1, ids_CK, 0)
        shift_C = rest_C - p_rest_CV.sum(-1).double().clamp(min=torch.finfo(dtype).tiny).log()
        return (fill_CV + shift_C[:, None].to(dtype)).scatter_(-1, ids_CK, log_top_CK.to(dtype))


@dataclass(frozen=True)
class NoTeacher:
    """No distributions: only the tokens of the solutions count."""

    def student_logits_and_teacher(
        self, student_CH: torch.Tensor, chunk: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        return logits(student_CH, head_VH), self.log_probs

    def log_probs(self, *unused: object) -> torch.Tensor:
        raise ValueError("a divergence needs a teacher, but there is none: set cross_entropy to 1")


def log_probs(
    hidden_NH: torch.Tensor, head_VH: torch.Tensor, temperature: float, soft_cap: float | None = None
) -> torch.Tensor:
    """Log-probabilities (N, V) at `temperature`, at least in float32, from logits rounded as the model rounds them."""
    logits_NV = capped(hidden_NH.to(head_VH.dtype) @ head_VH.T, soft_cap)
    return log_softmax(upcast(logits_NV).div_(temperature))


def logits(hidden_NH: torch.Tensor, head_VH: torch.Tensor) -> torch.Tensor:
    """``h W^T`` (N, V) in a new tensor, at least in float32. Only on a CPU it is rounded to 16 bits in between."""
    hidden_NH = hidden_NH.to(head_VH.dtype)
    if head_VH.is_cuda and head_VH.dtype.itemsize < 4:
        return torch.mm(hidden_NH, head_VH.T, out_dtype=torch.float32)
    return upcast(hidden_NH @ head_VH.T)


def capped(logits_NV: torch.Tensor, soft_cap: float | None) -> torch.Tensor:
    """``c tanh(z / c)``, or the same tensor if there is no cap."""
    return logits_NV if soft_cap is None else (logits_NV / soft_cap).tanh_().mul_(soft_cap)


def log_softmax(logits_CV: torch.Tensor) -> torch.Tensor:
    """Log-softmax; in place on a CPU, where new memory costs more time than the softmax."""
    return torch.log_softmax(logits_CV, -1, out=logits_CV if logits_CV.device.type == "cpu" else None)


def upcast(values: torch.Tensor) -> torch.Tensor:
    """`values`, at least in float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
