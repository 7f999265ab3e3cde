"""The teacher signal is stored bit for bit, in less than its own size."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ssb_core import models
from ssb_core.errors import StoreError
from ssb_core.records import TeacherTrace, Verdict, from_row, schema
from ssb_core.runs import Run
from ssb_core.signal import codecs, layout
from ssb_core.signal.capture import capture, certify
from ssb_core.signal.teachers import HiddenStates
from ssb_core.store import Recipe, Store


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_hidden_states_come_back_from_a_shard_bit_for_bit(dtype: str, tmp_path: Path) -> None:
    torch_dtype, bits = getattr(torch, dtype), torch.int32 if dtype == "float32" else torch.int16
    odd = torch.tensor([[float("nan"), float("inf"), -0.0, 0.0, 1e-40, -1e-7, 1.0, 65504.0]])
    vectors = {"a": torch.cat([torch.randn(3, 8), odd]).to(torch_dtype), "c": torch.randn(1, 8).to(torch_dtype)}
    origin = {"codec": "hidden/2", "dtype": dtype, "hidden_size": 8}
    column = codecs.to_arrow([{"hidden": vectors["a"]}, None, {"hidden": vectors["c"]}], origin)
    store, recipe = Store(tmp_path), Recipe("teach", {})
    store.prepare(recipe)
    shard = store.write_shard(recipe, "0", pa.table({layout.COLUMN: column}), ["a", "b", "c"], None)
    stored = pq.read_table(store.directory(recipe) / shard.file.path)[layout.COLUMN]
    for row, name in ((0, "a"), (2, "c")):
        back = codecs.from_arrow(stored, row, origin)["hidden"]
        assert back.dtype == torch_dtype and torch.equal(back.view(bits), vectors[name].view(bits))
    assert codecs.from_arrow(stored, 1, origin)["hidden"].shape == (0, 8)


def test_captured_vectors_take_less_than_their_own_bytes_and_have_no_dictionary(quick_run: Run) -> None:
    found = 0
    for path in quick_run.store.root.glob("teach/*/shards/*.parquet"):
        file = pq.ParquetFile(path)
        groups = (file.metadata.row_group(i) for i in range(file.num_row_groups))
        for column in (g.column(i) for g in groups for i in range(g.num_columns)):
            vector = column.path_in_schema.startswith(layout.COLUMN)
            assert ("BYTE_STREAM_SPLIT" in column.encodings) is vector
            assert column.has_dictionary_page is not vector
            if vector:
                found += column.num_values
                assert column.total_compressed_size < 4 * column.num_values
    assert found


@pytest.mark.parametrize(("traces", "drawn"), [(0, 0), (1, 1), (32, 1), (33, 2)])
def test_one_trace_in_32_is_certified_and_one_of_every_shard(
    traces: int, drawn: int, nano: models.ResolvedModel
) -> None:
    model, verdict = models.load_model(nano, "cpu"), Verdict("correct")
    made = [
        TeacherTrace(
            problem_id=str(i),
            student_prompt_ids=(1,),
            teacher_prompt_ids=tuple(range(5, 9 + i % 7)),
            completion_ids=(5, 6, 7),
            text="",
            finish_reason="stop",
            seed=0,
            verdict=verdict,
            dropped=None,
        )
        for i in range(traces)
    ]
    stored = [HiddenStates(hidden_NH) for hidden_NH in capture(model, made, 64)]
    certificate = certify(model, made, stored.__getitem__)
    assert certificate.tokens == 3 * drawn and certificate.mean_kl_error < 1e-6


def test_the_certificate_of_top_k_checks_the_log_sum_exp_that_another_temperature_needs(
    quick_run: Run, nano: models.ResolvedModel
) -> None:
    manifest = quick_run.manifests("teach")[0]
    rows = quick_run.store.table(manifest, manifest.files[0], schema(TeacherTrace).names).to_pylist()
    traces = [t for r in rows if (t := from_row(TeacherTrace, r)).dropped is None][:1]
    model = models.load_model(nano, "cpu")
    head, origin = models.head_weight(model), {"codec": "topk/2", "k": 8, "temperature": 2.0}
    signal = codecs.encode(capture(model, traces, 1000)[0], head, None, origin)
    assert certify(model, traces, lambda i: codecs.teacher(signal, origin), (1.0, 2.0)).max_kl_error < 1e-6
    wrong = {**signal, "lse": signal["lse"] + 0.1}
    with pytest.raises(StoreError, match="nats per token from the model's own distribution"):
        certify(model, traces, lambda i: codecs.teacher(wrong, origin), (1.0, 2.0))


@pytest.mark.parametrize("codec", ["hidden/1", "hidden", "sketch/2"])
def test_signal_of_another_version_or_codec_is_refused_with_a_remedy(codec: str) -> None:
    with pytest.raises(StoreError, match=rf"has the codec {codec}, .*\n  remedy: make it again: .*--force teach"):
        layout.fields({"codec": codec, "dtype": "float32", "hidden_size": 8})
