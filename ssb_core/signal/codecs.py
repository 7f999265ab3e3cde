"""Hidden states in Parquet: one list of fixed-size vectors per trace, in the model's own dtype.

Arrow has no bfloat16, so its bit patterns are stored as uint16; the schema metadata names the dtype.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

COLUMN = "hidden"
METADATA = "ssb_signal"
CODEC_VERSION = 1
_STORED: dict[str, tuple[torch.dtype, Any, pa.DataType]] = {
    "float32": (torch.float32, np.float32, pa.float32()),
    "float16": (torch.float16, np.float16, pa.float16()),
    "bfloat16": (torch.bfloat16, np.uint16, pa.uint16()),
}


def to_arrow(vectors: Mapping[str, torch.Tensor], ids: Sequence[str], origin: Mapping[str, Any]) -> pa.Array:
    """One row for each of `ids`: its (tokens, H) vectors bit for bit, or an empty list where there are none."""
    torch_dtype, _, arrow_type = _STORED[origin["dtype"]]
    width = origin["hidden_size"]
    rows = [vectors.get(i, torch.empty(0, width, dtype=torch_dtype)) for i in ids]
    flat = torch.cat(rows).contiguous().reshape(-1) if rows else torch.empty(0, dtype=torch_dtype)
    bits = flat.view(torch.uint16) if torch_dtype is torch.bfloat16 else flat
    values = pa.FixedSizeListArray.from_arrays(pa.array(bits.numpy(), type=arrow_type), width)
    offsets = np.cumsum([0, *map(len, rows)])
    return pa.ListArray.from_arrays(pa.array(offsets, type=pa.int32()), values)


def from_arrow(column: pa.ChunkedArray, row: int, dtype: str) -> torch.Tensor:
    """The (tokens, width) tensor of one row, bit for bit as it was captured."""
    torch_dtype, numpy_type, _ = _STORED[dtype]
    vectors = column[row].values
    width = vectors.type.list_size
    flat = np.asarray(vectors.flatten().to_numpy(zero_copy_only=False), dtype=numpy_type).copy()
    tensor = torch.from_numpy(flat)
    return (tensor.view(torch.bfloat16) if torch_dtype is torch.bfloat16 else tensor).reshape(-1, width)
