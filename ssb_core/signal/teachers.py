"""The teacher's distributions at N tokens, in whichever form they were stored, as the losses ask for them.

`HiddenStates` and `Dense` know them whole; `TopK` knows the most probable tokens and how much mass is left. `Nobody`
stands in where plain cross-entropy asks for no distributions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch

LogProbs = Callable[[torch.Tensor, float], torch.Tensor]


class Teacher(Protocol):
    """Distributions at N tokens, asked for in chunks of C."""

    def meet(
        self, student_CH: torch.Tensor, part: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        """For the tokens of `part`: the student's logits (C, V) before any cap, and the teacher's log-probabilities.

        The latter is a function, to be called once, of the student's log-probabilities (C, V) and of the temperature
        that both are taken at.
        """

    def log_probs(
        self, near_NV: torch.Tensor, temperature: float, head_VH: torch.Tensor, soft_cap: float | None
    ) -> torch.Tensor:
        """Its own log-probabilities (N, V), rounded as the model rounds them; `near_NV` fills in what is not stored."""


@dataclass(frozen=True)
class HiddenStates:
    """The exact distributions, from the states (N, H) that the shared head reads."""

    states_NH: torch.Tensor

    def meet(
        self, student_CH: torch.Tensor, part: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        """The student's logits are the teacher's and the head's product with how far the two states are apart.

        A head of 16 bits rounds its products by a part of their size. This way both models share the rounding of the
        large part, and what they differ by is as exact as it would be by itself, however close they come.
        """
        teacher_CH = self.states_NH[part]
        teacher_CV = logits(teacher_CH, head_VH)
        student_CV = logits(wide(student_CH) - wide(teacher_CH), head_VH).add_(teacher_CV)
        return student_CV, lambda log_s_CV, t: normalise(capped(teacher_CV, soft_cap).div_(t))

    def log_probs(
        self, near_NV: torch.Tensor, temperature: float, head_VH: torch.Tensor, soft_cap: float | None
    ) -> torch.Tensor:
        return log_probs(self.states_NH.to(head_VH.device), head_VH, temperature, soft_cap)


@dataclass(frozen=True)
class Dense:
    """Stored log-probabilities (N, V) at temperature 1."""

    log_probs_NV: torch.Tensor

    def meet(
        self, student_CH: torch.Tensor, part: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        return logits(student_CH, head_VH), lambda log_s_CV, t: normalise(wide(self.log_probs_NV[part]) / t)

    def log_probs(
        self, near_NV: torch.Tensor, temperature: float, head_VH: torch.Tensor, soft_cap: float | None
    ) -> torch.Tensor:
        return normalise(wide(self.log_probs_NV.to(near_NV.device)) / temperature)


@dataclass(frozen=True)
class TopK:
    """The K most probable tokens (N, K) with their log-probabilities at temperature 1, and what is left at both.

    `lse_N` is the log-sum-exp over all V log-probabilities divided by `temperature`. The mass of the other tokens is so
    known, its shares are not: they are taken to be the student's own. Forward KL is then that of the K tokens and one
    bucket for the rest, the largest lower bound that what is stored allows.
    """

    ids_NK: torch.Tensor
    log_probs_NK: torch.Tensor
    lse_N: torch.Tensor
    temperature: float

    def meet(
        self, student_CH: torch.Tensor, part: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        return logits(student_CH, head_VH), lambda log_s_CV, t: self._filled(log_s_CV, part, t)

    def log_probs(
        self, near_NV: torch.Tensor, temperature: float, head_VH: torch.Tensor, soft_cap: float | None
    ) -> torch.Tensor:
        return self._filled(near_NV, slice(None), temperature)

    def _filled(self, log_s_CV: torch.Tensor, part: slice, t: float) -> torch.Tensor:
        if t not in (1.0, self.temperature):
            raise ValueError(f"top-k signal was captured for temperature 1 and {self.temperature}, not for {t}")
        ids_CK, top_CK, norm_C = (x[part].to(log_s_CV.device) for x in (self.ids_NK, self.log_probs_NK, self.lse_N))
        ids_CK, dtype = ids_CK.long(), log_s_CV.dtype
        log_top_CK = top_CK.double() / t - (norm_C.double() * (t != 1.0))[:, None]
        left_C = (1 - log_top_CK.exp().sum(-1)).clamp(min=1e-12).log()  # rounding may leave nothing or less
        p_rest_CV = log_s_CV.exp().scatter_(-1, ids_CK, 0)
        fill_C = left_C - p_rest_CV.sum(-1).double().clamp(min=torch.finfo(dtype).tiny).log()
        return (log_s_CV + fill_C[:, None].to(dtype)).scatter_(-1, ids_CK, log_top_CK.to(dtype))


@dataclass(frozen=True)
class Nobody:
    """No teacher: only the tokens that were written count."""

    def meet(
        self, student_CH: torch.Tensor, part: slice, head_VH: torch.Tensor, soft_cap: float | None
    ) -> tuple[torch.Tensor, LogProbs]:
        return logits(student_CH, head_VH), self.log_probs

    def log_probs(self, *asked: object) -> torch.Tensor:
        raise ValueError("a divergence was asked for, but there is no teacher: set cross_entropy to 1")


def log_probs(
    hidden_NH: torch.Tensor, head_VH: torch.Tensor, temperature: float, soft_cap: float | None = None
) -> torch.Tensor:
    """Log-probabilities (N, V) at `temperature`, at least in float32, of logits that are rounded as the model does."""
    logits_NV = capped(hidden_NH.to(head_VH.dtype) @ head_VH.T, soft_cap)
    return normalise(wide(logits_NV).div_(temperature))


def logits(hidden_NH: torch.Tensor, head_VH: torch.Tensor) -> torch.Tensor:
    """``h W^T`` (N, V), at least in float32: in a new tensor, rounded to 16 bits in between only on a CPU."""
    hidden_NH = hidden_NH.to(head_VH.dtype)
    if head_VH.is_cuda and head_VH.dtype.itemsize < 4:
        return torch.mm(hidden_NH, head_VH.T, out_dtype=torch.float32)
    return wide(hidden_NH @ head_VH.T)


def capped(logits_NV: torch.Tensor, soft_cap: float | None) -> torch.Tensor:
    """``c tanh(z / c)``, or the same tensor where there is no cap."""
    return logits_NV if soft_cap is None else (logits_NV / soft_cap).tanh_().mul_(soft_cap)


def normalise(logits_CV: torch.Tensor) -> torch.Tensor:
    """Log-softmax; in place on a CPU, where memory that is new costs more time than the softmax."""
    return torch.log_softmax(logits_CV, -1, out=logits_CV if logits_CV.device.type == "cpu" else None)


def wide(values: torch.Tensor) -> torch.Tensor:
    """`values`, at least in float32."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
