"""Captured signal of a finished run, and the effect of the hint by its definition over full float64 logits."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import torch

from ssb_core.records import TeacherTrace, from_row, schema
from ssb_core.runs import Run
from ssb_core.signal import codecs, layout


def captured_traces(run: Run) -> Iterator[tuple[TeacherTrace, dict[str, torch.Tensor], dict[str, Any]]]:
    """Every taught trace of a run with its signal and the signal metadata."""
    for manifest in run.manifests("teach"):
        for table in run.store.tables(manifest):
            metadata = json.loads(table.schema.metadata[layout.METADATA.encode()])
            for i, row in enumerate(table.select(schema(TeacherTrace).names).to_pylist()):
                if row["dropped"] is None:
                    yield from_row(TeacherTrace, row), codecs.from_arrow(table[layout.COLUMN], i, metadata), metadata


def full_logits(model: Any, prompt: tuple[int, ...], trace: TeacherTrace) -> torch.Tensor:
    """The model's own logits (N, V) at the tokens of a trace's solution after a prompt, float64."""
    ids = torch.tensor([prompt + trace.completion_ids])
    return model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1].double()


def textbook_effect(model: Any, trace: TeacherTrace, t: float) -> dict[str, torch.Tensor]:
    """The distributions of teacher (`t`) and bare student (`s`), their KL and the teacher's entropy."""
    prompts = trace.teacher_prompt_ids, trace.student_prompt_ids
    log_t, log_s = ((full_logits(model, prompt, trace) / t).log_softmax(-1) for prompt in prompts)
    p = log_t.exp()
    return {"t": p, "s": log_s.exp(), "kl": (p * (log_t - log_s)).sum(-1), "entropy": -(p * log_t).sum(-1)}
