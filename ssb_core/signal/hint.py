"""What the hint changed: how far the teacher is from the bare student, at every token of its solutions.

The bare student is the base model that reads the bare question and the same solution. It differs from the teacher in
nothing but the hint, so KL(teacher || bare student) is the hint's effect, and where distillation starts from.
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
from .losses import chunk_of
from .marks import MARKED, Marked, mark
from .teachers import Teacher, capped, normalise


@dataclass(frozen=True, slots=True)
class Effect:
    """Teacher and bare student at N tokens and one temperature, float32 and int64 on the CPU.

    `kl_N` is KL(teacher || student) and `entropy_N` the teacher's entropy, both in nats. `ids_N2` are the two tokens
    whose probability the hint raised and lowered most; `bare_N2` is what it was, `hinted_N2` what it became.
    """

    kl_N: torch.Tensor
    entropy_N: torch.Tensor
    ids_N2: torch.Tensor
    bare_N2: torch.Tensor
    hinted_N2: torch.Tensor


def bare_states(model: Any, traces: Sequence[TeacherTrace], token_budget: int) -> list[torch.Tensor]:
    """The (tokens, H) hidden states that predict each trace's completion where the bare question is the prompt."""
    return capture(model, [replace(t, teacher_prompt_ids=t.student_prompt_ids) for t in traces], token_budget)


@torch.inference_mode()
def effect(model: Any, student_NH: torch.Tensor, teacher: Teacher, temperature: float = 1.0) -> Effect:
    """The hint's effect at N >= 1 tokens; memory is O(chunk x V).

    `teacher` is on the model's device (see `on_device`).
    """
    head_VH, soft_cap = models.head_weight(model), models.soft_cap(model)
    parts = []
    for at in range(0, len(student_NH), size := chunk_of(head_VH)):
        part = slice(at, at + size)
        uncapped_CV, log_teacher = teacher.meet(student_NH[part].to(head_VH.device), part, head_VH, soft_cap)
        log_s_CV = normalise(capped(uncapped_CV, soft_cap).div_(temperature))
        parts.append(_compared(log_teacher(log_s_CV, temperature), log_s_CV))
        del uncapped_CV, log_teacher, log_s_CV  # before the next ones are made
    return Effect(**{f.name: torch.cat([getattr(p, f.name) for p in parts]) for f in fields(Effect)})


def _compared(log_t_CV: torch.Tensor, log_s_CV: torch.Tensor) -> Effect:
    """The effect at a chunk of tokens, from log-probabilities (C, V), of which the teacher's are overwritten."""
    p_t_CV, p_s_CV = log_t_CV.exp(), log_s_CV.exp()
    gap_CV = p_t_CV - p_s_CV
    ids_C2 = torch.stack([gap_CV.argmax(-1), gap_CV.argmin(-1)], -1)
    entropy_C = -vecdot(p_t_CV, log_t_CV)
    kl_C = vecdot(p_t_CV, log_t_CV.sub_(log_s_CV)).clamp(min=0)  # rounding may leave less
    found = (kl_C, entropy_C, ids_C2, p_s_CV.gather(-1, ids_C2), p_t_CV.gather(-1, ids_C2))
    return Effect(*(x.cpu() for x in found))


def on_device(signal: Mapping[str, torch.Tensor], origin: Mapping[str, Any], model: Any) -> Teacher:
    """The teacher that was stored as the codec's fields (N, width), on the model's device."""
    return codecs.teacher({name: field.to(model.device) for name, field in signal.items()}, origin)


def sample(
    model: Any, tokenizer: Any, trace: TeacherTrace, signal: Mapping[str, torch.Tensor], origin: Mapping[str, Any]
) -> Marked:
    """A trace's solution, marked with the hint's effect at its first `MARKED` tokens, for the metadata of a shard."""
    shown = replace(trace, completion_ids=trace.completion_ids[:MARKED])
    (student_NH,) = bare_states(model, [shown], 0)
    teacher = on_device({name: field[:MARKED] for name, field in signal.items()}, origin, model)
    return mark(tokenizer, trace, effect(model, student_NH, teacher))
