"""A shard of captured signal: the table with its signal column, and the metadata that says how to read it.

The schema metadata of a shard holds, under `layout.METADATA`, the signal metadata (see `describe`) together with its
certificate and, under a key of its own, one solution annotated with the effect of the hint, for the report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa
import torch

from .. import models
from ..records import TeacherTrace, to_table
from . import capture, codecs, compatibility, hint_effect, layout
from .annotate import annotate_solution
from .marks import AnnotatedSolution
from .teachers import Teacher

ANNOTATED = 512  # tokens of the solution in the metadata: more than a reader looks at, under 1% of the signal's size


def describe(model: Any, tokenizer: Any, *, identity: str, codec: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The signal metadata of the shards that `model` captures: codec, dtype, and what a student must share with it.

    `identity` is the teacher's `ResolvedModel.identity`. `codec` is ``hidden``, ``topk`` or ``dense``; `kept` is what a
    codec that leaves something out keeps of every distribution (`k` and `temperature` of ``topk``), else empty.
    """
    shared = compatibility.shared_properties(model, tokenizer)
    if kept:
        shared |= {**kept, "k": min(kept["k"], shared["vocabulary"])}
    return {
        "codec": f"{codec}/{layout.CODEC_VERSION}",
        "dtype": str(model.dtype).removeprefix("torch."),
        "model": identity,
        "adapter": None,  # the teacher is the base itself
        **shared,
    }


def signal_table(
    model: Any, tokenizer: Any, metadata: Mapping[str, Any], traces: Sequence[TeacherTrace], token_budget: int
) -> pa.Table:
    """Capture the signal of every trace that was not dropped, certify it, and return one row for each trace.

    `metadata` comes from `describe`. A batch has at most `token_budget` tokens, padding included.

    Raises:
        StoreError: the captured signal is not the model's own distribution.
    """
    taught = [t for t in traces if t.dropped is None]
    head_VH, soft_cap = models.head_weight(model), models.soft_cap(model)
    states = capture.capture(model, taught, token_budget)
    signal = {
        t.problem_id: codecs.encode(h_NH, head_VH, soft_cap, metadata) for t, h_NH in zip(taught, states, strict=True)
    }
    column = pa.chunked_array([codecs.to_arrow([signal.get(t.problem_id) for t in traces], metadata)])
    rows = [row for row, t in enumerate(traces) if t.dropped is None]

    def stored(i: int) -> Teacher:
        return codecs.teacher(codecs.from_arrow(column, rows[i], metadata), metadata)

    temperatures = (1.0, metadata["temperature"]) if "temperature" in metadata else (1.0,)
    certificate = asdict(capture.certify(model, taught, stored, temperatures))
    schema_metadata = {layout.METADATA.encode(): json.dumps({**metadata, **certificate}, sort_keys=True).encode()}
    if taught:  # the report shows one solution
        schema_metadata |= annotated_solution(
            model, tokenizer, taught[0], signal[taught[0].problem_id], metadata
        ).dump()
    table = to_table(traces, TeacherTrace).append_column(layout.COLUMN, column)
    return table.replace_schema_metadata(schema_metadata)


def annotated_solution(
    model: Any, tokenizer: Any, trace: TeacherTrace, signal: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> AnnotatedSolution:
    """A trace's solution with the effect of the hint on its first `ANNOTATED` tokens, for a shard's schema metadata.

    `signal` are the codec's fields (N, width) of all its tokens. The bare student's states are computed here.
    """
    beginning = replace(trace, completion_ids=trace.completion_ids[:ANNOTATED])
    (student_NH,) = hint_effect.bare_states(model, [beginning], 0)
    teacher = hint_effect.teacher_on_device(
        {name: field[:ANNOTATED] for name, field in signal.items()}, metadata, model
    )
    return annotate_solution(tokenizer, trace, hint_effect.effect(model, student_NH, teacher))
