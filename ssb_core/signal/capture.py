"""Capture of the teacher's hidden state at every solution token, and the certificate that it is stored correctly."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from .. import models
from ..errors import StoreError
from ..records import TeacherTrace
from .compatibility import MAX_MEAN_KL
from .teachers import Teacher

CERTIFY_ONE_IN = 32  # traces, and at least one of every shard: more would cost more than a few percent of the time


@dataclass(frozen=True, slots=True)
class Certificate:
    """Differences of stored signal from live full logits over `tokens` sampled tokens, at temperature 1 and in nats."""

    tokens: int
    mean_kl_error: float
    max_kl_error: float
    max_logp_error: float


@torch.inference_mode()
def capture(model: Any, traces: Sequence[TeacherTrace], token_budget: int) -> list[torch.Tensor]:
    """Compute the hidden states (tokens, H) that predict each trace's completion, after the final norm, on the CPU.

    Traces of similar length share a right-padded batch of at most `token_budget` tokens.
    """
    states: dict[int, torch.Tensor] = {}
    for batch in batches(traces, token_budget):
        ids_BS = padded([traces[i].teacher_prompt_ids + traces[i].completion_ids for i in batch], model.device)
        hidden_BSH = models.backbone(model)(input_ids=ids_BS, use_cache=False).last_hidden_state
        for i, hidden_SH in zip(batch, hidden_BSH, strict=True):
            start, tokens = len(traces[i].teacher_prompt_ids) - 1, len(traces[i].completion_ids)
            states[i] = hidden_SH[start : start + tokens].to("cpu", copy=True)  # a view would keep the whole batch
    return [states[i] for i in range(len(traces))]


def padded(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """Right-padded token ids (B, S), int64 on `device`.

    They need no attention mask: a causal model's tokens see nothing to their right. With a mask, attention gives the
    same bits on a CPU, but by a slower kernel.
    """
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(device)


def batches(traces: Sequence[TeacherTrace], token_budget: int) -> Iterator[list[int]]:
    """Indices of the traces in batches of similar length.

    A batch has at most `token_budget` tokens, padding included, unless a single trace is longer.
    """
    lengths = [len(t.teacher_prompt_ids) + len(t.completion_ids) for t in traces]
    batch: list[int] = []
    for i in sorted(range(len(traces)), key=lambda i: lengths[i]):
        if batch and (len(batch) + 1) * lengths[i] > token_budget:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.inference_mode()
def certify(
    model: Any,
    traces: Sequence[TeacherTrace],
    stored: Callable[[int], Teacher],
    temperatures: Sequence[float] = (1.0,),
) -> Certificate:
    """Compare `stored` with the model's own full logits, computed again and unpadded for a seeded sample of traces.

    The sample is one trace in `CERTIFY_ONE_IN`, and at least one: the mistakes that it guards against are wrong at
    every token. `stored` gives the distributions of trace number i; they are compared at each of the temperatures at
    which they will be used. Probabilities that a codec does not store are not compared.

    Raises:
        StoreError: they differ by more than `MAX_MEAN_KL`: the model's head does not read the stored states.
    """
    head_VH, soft_cap = models.head_weight(model), models.soft_cap(model)
    kl_N, logp_N = [torch.zeros(0)], [torch.zeros(0)]
    generator = random.Random("".join(t.problem_id for t in traces))
    sample = generator.sample(range(len(traces)), math.ceil(len(traces) / CERTIFY_ONE_IN))
    for i in sorted(sample):
        trace, teacher = traces[i], stored(i)
        ids = torch.tensor([trace.teacher_prompt_ids + trace.completion_ids], device=model.device)
        start = len(trace.teacher_prompt_ids) - 1
        logits_NV = model(input_ids=ids, use_cache=False).logits[0, start:-1].float()
        errors = [_errors((logits_NV / t).log_softmax(-1), teacher, t, head_VH, soft_cap) for t in temperatures]
        worst_2N = torch.stack([torch.stack(e) for e in errors]).amax(0).cpu()
        kl_N.append(worst_2N[0])
        logp_N.append(worst_2N[1])
    return _certificate(torch.cat(kl_N), torch.cat(logp_N))


def _errors(
    live_NV: torch.Tensor, teacher: Teacher, temperature: float, head_VH: torch.Tensor, soft_cap: float | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(live || stored) and the largest difference of log-probabilities, each (N,)."""
    gap_NV = live_NV - teacher.log_probs(live_NV, temperature, head_VH, soft_cap)
    return (live_NV.exp() * gap_NV).sum(-1).clamp(min=0), gap_NV.abs().amax(-1)


def _certificate(kl_N: torch.Tensor, logp_N: torch.Tensor) -> Certificate:
    if not len(kl_N):
        return Certificate(0, 0.0, 0.0, 0.0)
    mean = kl_N.mean().item()
    if not mean <= MAX_MEAN_KL:
        raise StoreError(
            f"the captured signal is {mean:.3g} nats per token from the model's own distribution (allowed: "
            f"{MAX_MEAN_KL}); this model's output head is not supported"
        )
    return Certificate(len(kl_N), mean, kl_N.max().item(), logp_N.max().item())
