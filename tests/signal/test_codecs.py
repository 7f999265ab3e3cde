"""The teacher signal is stored bit for bit, in less than its own size."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from ssb_core.errors import StoreError
from ssb_core.runs import Run
from ssb_core.signal import codecs, layout
from ssb_core.store import Recipe, Store


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_hidden_states_come_back_from_a_shard_bit_for_bit(dtype: str, tmp_path: Path) -> None:
    torch_dtype, bits = getattr(torch, dtype), torch.int32 if dtype == "float32" else torch.int16
    odd = torch.tensor([[float("nan"), float("inf"), -0.0, 0.0, 1e-40, -1e-7, 1.0, 65504.0]])
    vectors = {"a": torch.cat([torch.randn(3, 8), odd]).to(torch_dtype), "c": torch.randn(1, 8).to(torch_dtype)}
    metadata = {"codec": "hidden/2", "dtype": dtype, "hidden_size": 8}
    column = codecs.to_arrow([{"hidden": vectors["a"]}, None, {"hidden": vectors["c"]}], metadata)
    store, recipe = Store(tmp_path), Recipe("teach", {})
    store.prepare(recipe)
    shard = store.write_shard(recipe, "0", pa.table({layout.COLUMN: column}), ["a", "b", "c"], None)
    stored = pq.read_table(store.directory(recipe) / shard.file.path)[layout.COLUMN]
    for row, name in ((0, "a"), (2, "c")):
        back = codecs.from_arrow(stored, row, metadata)["hidden"]
        assert back.dtype == torch_dtype and torch.equal(back.view(bits), vectors[name].view(bits))
    assert codecs.from_arrow(stored, 1, metadata)["hidden"].shape == (0, 8)


def test_captured_vectors_take_less_than_their_own_bytes_and_have_no_dictionary(quick_run: Run) -> None:
    values = 0
    for path in quick_run.store.root.glob("teach/*/shards/*.parquet"):
        file = pq.ParquetFile(path)
        groups = (file.metadata.row_group(i) for i in range(file.num_row_groups))
        for column in (g.column(i) for g in groups for i in range(g.num_columns)):
            vector = column.path_in_schema.startswith(layout.COLUMN)
            assert ("BYTE_STREAM_SPLIT" in column.encodings) is vector
            assert column.has_dictionary_page is not vector
            if vector:
                values += column.num_values
                assert column.total_compressed_size < 4 * column.num_values
    assert values


@pytest.mark.parametrize("codec", ["hidden/1", "hidden", "sketch/2"])
def test_signal_of_another_version_or_codec_is_refused_with_a_remedy(codec: str) -> None:
    with pytest.raises(StoreError, match=rf"has the codec {codec}, .*\n  remedy: make it again: .*--force teach"):
        layout.fields({"codec": codec, "dtype": "float32", "hidden_size": 8})
