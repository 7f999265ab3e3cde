"""A shard of signal is described by plain values, certified, and carries one annotated solution."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
import torch

from ssb_core import models
from ssb_core.records import TeacherTrace, Verdict
from ssb_core.signal import codecs, layout, shards
from ssb_core.signal.capture import capture


@pytest.fixture(scope="module")
def model(nano: models.ResolvedModel) -> Any:
    return models.load_model(nano, "cpu")


@pytest.fixture(scope="module")
def tokenizer(nano: models.ResolvedModel) -> Any:
    return models.load_tokenizer(nano)


def trace(problem_id: str, completion: tuple[int, ...], dropped: Any = None) -> TeacherTrace:
    verdict = Verdict("correct", "1", "n:1")
    return TeacherTrace(
        problem_id=problem_id,
        student_prompt_ids=(4, 5),
        teacher_prompt_ids=(4, 5, 6, 7),
        completion_ids=completion,
        text="",
        finish_reason="stop",
        seed=0,
        verdict=verdict,
        dropped=dropped,
    )


TRACES = [trace("dropped", (8,), "leak"), trace("a", (8, 9, 10)), trace("b", (11, 12))]
KEPT: dict[str, Mapping[str, Any]] = {"hidden": {}, "dense": {}, "topk": {"k": 8, "temperature": 2.0}}


@pytest.mark.parametrize("codec", KEPT)
def test_signal_metadata_names_codec_model_and_what_a_student_must_share(
    codec: str, model: Any, tokenizer: Any
) -> None:
    metadata = shards.describe(model, tokenizer, identity="the model", codec=codec, kept=KEPT[codec])
    head_VH = models.head_weight(model)
    assert metadata == {
        "codec": f"{codec}/2",
        "dtype": "float32",
        "model": "the model",
        "adapter": None,
        "head": models.tensor_digest(head_VH),
        "vocabulary": head_VH.shape[0],
        "hidden_size": head_VH.shape[1],
        "soft_cap": None,
        "norm": "hidden states are taken after the final norm",
        "tokenizer": models.tokenizer_digest(tokenizer),
        **KEPT[codec],
    }


def test_top_k_keeps_at_most_the_vocabulary(model: Any, tokenizer: Any) -> None:
    kept = {"k": 10**6, "temperature": 2.0}
    metadata = shards.describe(model, tokenizer, identity="m", codec="topk", kept=kept)
    assert metadata["k"] == metadata["vocabulary"]


@pytest.mark.parametrize("codec", KEPT)
def test_a_shard_has_a_row_for_each_trace_and_signal_for_those_not_dropped(
    codec: str, model: Any, tokenizer: Any
) -> None:
    metadata = shards.describe(model, tokenizer, identity="m", codec=codec, kept=KEPT[codec])
    table = shards.signal_table(model, tokenizer, metadata, TRACES, 64)
    assert table["problem_id"].to_pylist() == ["dropped", "a", "b"]
    states, head_VH = capture(model, TRACES[1:], 64), models.head_weight(model)
    for row, hidden_NH in ((1, states[0]), (2, states[1])):
        expected = codecs.encode(hidden_NH, head_VH, None, metadata)
        stored = codecs.from_arrow(table[layout.COLUMN], row, metadata)
        assert stored.keys() == expected.keys()
        assert all(torch.equal(stored[name], expected[name]) for name in expected)
    assert all(len(field) == 0 for field in codecs.from_arrow(table[layout.COLUMN], 0, metadata).values())


def test_the_schema_metadata_holds_certificate_and_one_solution(model: Any, tokenizer: Any) -> None:
    metadata = shards.describe(model, tokenizer, identity="m", codec="topk", kept=KEPT["topk"])
    table = shards.signal_table(model, tokenizer, metadata, TRACES, 64)
    stored = json.loads(table.schema.metadata[layout.METADATA.encode()])
    certificate = {name: stored.pop(name) for name in ("tokens", "mean_kl_error", "max_kl_error", "max_logp_error")}
    assert stored == metadata
    assert certificate["tokens"] in (2, 3) and 0 <= certificate["mean_kl_error"] < 1e-6
    assert json.loads(table.schema.metadata[b"ssb_hint"])["problem_id"] == "a"


def test_a_shard_of_dropped_traces_alone_has_an_empty_certificate_and_no_solution(model: Any, tokenizer: Any) -> None:
    metadata = shards.describe(model, tokenizer, identity="m", codec="hidden", kept={})
    table = shards.signal_table(model, tokenizer, metadata, TRACES[:1], 64)
    assert table.num_rows == 1 and set(table.schema.metadata) == {layout.METADATA.encode()}
    assert json.loads(table.schema.metadata[layout.METADATA.encode()])["tokens"] == 0
