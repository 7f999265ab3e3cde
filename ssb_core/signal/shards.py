"""A shard of captured signal: the table with its signal column, and the metadata that says how to read it.

The schema metadata of a shard holds, under `layout.METADATA`, the signal metadata (see `describe`) together with its
certificate and, under a key of its own, one solution annotated with the effect of the hint, for the report.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pyarrow as pa

from .. import models
from ..records import TeacherTrace, to_table
from . import capture, codecs, compatibility, hint, layout
from .teachers import Teacher


def describe(model: Any, tokenizer: Any, *, identity: str, codec: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    """The signal metadata of the shards that `model` captures: codec, dtype, and what a student must share with it.

    `identity` is the teacher's `ResolvedModel.identity`. `codec` is ``hidden``, ``topk`` or ``dense``; `kept` is what a
    codec that leaves something out keeps of every distribution (`k` and `temperature` of ``topk``), else empty.
    """
    shared = compatibility.shared(model, tokenizer)
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
        schema_metadata |= hint.sample(model, tokenizer, taught[0], signal[taught[0].problem_id], metadata).dump()
    table = to_table(traces, TeacherTrace).append_column(layout.COLUMN, column)
    return table.replace_schema_metadata(schema_metadata)
