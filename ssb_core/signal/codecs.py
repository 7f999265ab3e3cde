"""Conversion of the teacher signal: hidden states to stored fields, fields to Parquet columns, and back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from .layout import Field, fields
from .losses import chunk_size
from .teachers import Dense, HiddenStates, NoTeacher, Teacher, TopK, log_probs

_STORED: dict[str, tuple[torch.dtype, Any, pa.DataType]] = {
    "float32": (torch.float32, np.float32, pa.float32()),
    "float16": (torch.float16, np.float16, pa.float16()),
    "bfloat16": (torch.bfloat16, np.uint16, pa.uint16()),
    "int32": (torch.int32, np.int32, pa.int32()),
}


@torch.inference_mode()
def encode(
    hidden_NH: torch.Tensor, head_VH: torch.Tensor, soft_cap: float | None, metadata: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """Encode hidden states as the codec's fields (N, width), on the CPU. Extra memory is O(chunk x V)."""
    if list(fields(metadata)) == ["hidden"]:
        return {"hidden": hidden_NH.cpu()}
    encode_chunk = _top_k if "k" in metadata else _dense
    size = chunk_size(head_VH)
    chunks = [
        encode_chunk(log_probs(hidden_NH[at : at + size].to(head_VH.device), head_VH, 1.0, soft_cap), metadata)
        for at in range(0, max(len(hidden_NH), 1), size)  # one empty chunk if there are no tokens
    ]
    return {name: torch.cat([c[name] for c in chunks]) for name in fields(metadata)}


def _top_k(log_CV: torch.Tensor, metadata: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    log_CK, ids_CK = log_CV.topk(metadata["k"])
    lse_C1 = (log_CV / metadata["temperature"]).logsumexp(-1, keepdim=True)
    return {"ids": ids_CK.int().cpu(), "log_probs": log_CK.cpu(), "lse": lse_C1.cpu()}


def _dense(log_CV: torch.Tensor, metadata: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {"log_probs": log_CV.half().cpu()}


def teacher(signal: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]) -> Teacher:
    """The teacher that the losses read, made from the fields (N, width) of N tokens."""
    if "hidden" in signal:
        return HiddenStates(signal["hidden"])
    if "ids" in signal:
        return TopK(signal["ids"], signal["log_probs"], signal["lse"][:, 0], metadata["temperature"])
    return Dense(signal["log_probs"]) if signal else NoTeacher()


def to_arrow(rows: Sequence[Mapping[str, torch.Tensor] | None], metadata: Mapping[str, Any]) -> pa.StructArray:
    """The signal column with one row per trace: its fields bit for bit, or empty lists for a trace without signal."""
    columns = {name: _vectors([r[name] for r in rows if r], f) for name, f in fields(metadata).items()}
    tokens = [len(next(iter(r.values()))) if r else 0 for r in rows]
    offsets = pa.array(np.cumsum([0, *tokens]), type=pa.int32())
    lists = [pa.ListArray.from_arrays(offsets, values) for values in columns.values()]
    return pa.StructArray.from_arrays(lists, names=list(columns))


def _vectors(tensors: Iterable[torch.Tensor], field: Field) -> pa.FixedSizeListArray:
    torch_dtype, _, arrow_type = _STORED[field.dtype]
    flat = torch.cat([torch.empty(0, dtype=torch_dtype), *(t.reshape(-1) for t in tensors)])
    bits = flat.view(torch.uint16) if torch_dtype is torch.bfloat16 else flat
    return pa.FixedSizeListArray.from_arrays(pa.array(bits.numpy(), type=arrow_type), field.width)


def from_arrow(column: pa.ChunkedArray, row: int, metadata: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The fields (N, width) of one row, bit for bit as they were captured."""
    return {name: _tensor(column[row][name].values, f) for name, f in fields(metadata).items()}


def _tensor(vectors: pa.FixedSizeListArray, field: Field) -> torch.Tensor:
    torch_dtype, numpy_type, _ = _STORED[field.dtype]
    flat = np.asarray(vectors.flatten().to_numpy(zero_copy_only=False), dtype=numpy_type).copy()
    tensor = torch.from_numpy(flat)
    return (tensor.view(torch.bfloat16) if torch_dtype is torch.bfloat16 else tensor).reshape(-1, field.width)
