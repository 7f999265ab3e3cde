"""The effect of the hint: the divergence of the teacher from the bare student, at every token of its solutions.

The bare student is the base model that reads the bare question and the same solution. It differs from the teacher in
the hint alone, so KL(teacher || bare student) is the effect of the hint, and the point where distillation starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch.linalg import vecdot

from .. import models
from ..records import TeacherTrace
from . import codecs
from .capture import capture
from .losses import chunk_size
from .teachers import Teacher, capped, log_softmax


@dataclass(frozen=True, slots=True)
class HintEffect:
    """Teacher and bare student at N tokens and one temperature, float32 and int64 on the CPU.

    `kl_N` is KL(teacher || bare student) and `entropy_N` the teacher's entropy, both in nats. `ids_N2` are the token
    whose probability the hint raised most and the one whose probability it lowered most; `bare_N2` is the probability
    in the bare student, `hinted_N2` in the teacher.
    """

    kl_N: torch.Tensor
    entropy_N: torch.Tensor
    ids_N2: torch.Tensor
    bare_N2: torch.Tensor
    hinted_N2: torch.Tensor


def bare_states(model: Any, traces: Sequence[TeacherTrace], token_budget: int) -> list[torch.Tensor]:
    """The hidden states (tokens, H) that predict each trace's completion when the prompt is the bare question."""
    return capture(model, [replace(t, teacher_prompt_ids=t.student_prompt_ids) for t in traces], token_budget)


@torch.inference_mode()
def effect(model: Any, student_NH: torch.Tensor, teacher: Teacher, temperature: float = 1.0) -> HintEffect:
    """The effect of the hint at N >= 1 tokens. Memory is O(chunk x V).

    `student_NH` are the bare student's hidden states. `teacher` must be on the model's device (see
    `teacher_on_device`).
    """
    head_VH, soft_cap = models.head_weight(model), models.soft_cap(model)
    effects = []
    for at in range(0, len(student_NH), size := chunk_size(head_VH)):
        chunk = slice(at, at + size)
        student_CH = student_NH[chunk].to(head_VH.device)
        uncapped_CV, log_teacher = teacher.student_logits_and_teacher(student_CH, chunk, head_VH, soft_cap)
        log_s_CV = log_softmax(capped(uncapped_CV, soft_cap).div_(temperature))
        effects.append(_compare(log_teacher(log_s_CV, temperature), log_s_CV))
        del uncapped_CV, log_teacher, log_s_CV  # free them before the next chunk
    return HintEffect(**{f.name: torch.cat([getattr(e, f.name) for e in effects]) for f in fields(HintEffect)})


def _compare(log_t_CV: torch.Tensor, log_s_CV: torch.Tensor) -> HintEffect:
    """The effect at a chunk of tokens, from log-probabilities (C, V). Overwrites those of the teacher."""
    p_t_CV, p_s_CV = log_t_CV.exp(), log_s_CV.exp()
    gap_CV = p_t_CV - p_s_CV
    ids_C2 = torch.stack([gap_CV.argmax(-1), gap_CV.argmin(-1)], -1)
    entropy_C = -vecdot(p_t_CV, log_t_CV)
    kl_C = vecdot(p_t_CV, log_t_CV.sub_(log_s_CV)).clamp(min=0)  # rounding may give less
    values = (kl_C, entropy_C, ids_C2, p_s_CV.gather(-1, ids_C2), p_t_CV.gather(-1, ids_C2))
    return HintEffect(*(v.cpu() for v in values))


def teacher_on_device(signal: Mapping[str, torch.Tensor], metadata: Mapping[str, Any], model: Any) -> Teacher:
    """The teacher from the codec's stored fields (N, width), moved to the model's device."""
    return codecs.teacher({name: field.to(model.device) for name, field in signal.items()}, metadata)
