"""The teacher signal between tensors and the columns of Parquet that `layout` describes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from .layout import Field, fields
from .losses import chunk_of
from .teachers import Dense, HiddenStates, Nobody, Teacher, TopK, log_probs

_STORED: dict[str, tuple[torch.dtype, Any, pa.DataType]] = {
    "float32": (torch.float32, np.float32, pa.float32()),
    "float16": (torch.float16, np.float16, pa.float16()),
    "bfloat16": (torch.bfloat16, np.uint16, pa.uint16()),
    "int32": (torch.int32, np.int32, pa.int32()),
}


@torch.inference_mode()
def encode(
    hidden_NH: torch.Tensor, head_VH: torch.Tensor, soft_cap: float | None, origin: Mapping[str, Any]
) -> dict[str, torch.Tensor]:
    """The fields (N, width) of N tokens, on the CPU; memory beside them is O(chunk x V)."""
    if list(fields(origin)) == ["hidden"]:
        return {"hidden": hidden_NH.cpu()}
    encoder = _top if "k" in origin else _rounded
    size = chunk_of(head_VH)
    chunks = [
        encoder(log_probs(hidden_NH[at : at + size].to(head_VH.device), head_VH, 1.0, soft_cap), origin)
        for at in range(0, max(len(hidden_NH), 1), size)  # of none, one empty chunk
    ]
    return {name: torch.cat([c[name] for c in chunks]) for name in fields(origin)}


def _top(log_CV: torch.Tensor, origin: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    log_CK, ids_CK = log_CV.topk(origin["k"])
    lse_C1 = (log_CV / origin["temperature"]).logsumexp(-1, keepdim=True)
    return {"ids": ids_CK.int().cpu(), "log_probs": log_CK.cpu(), "lse": lse_C1.cpu()}


def _rounded(log_CV: torch.Tensor, origin: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    return {"log_probs": log_CV.half().cpu()}


def teacher(signal: Mapping[str, torch.Tensor], origin: Mapping[str, Any]) -> Teacher:
    """What the losses read, from the fields of N tokens."""
    if "hidden" in signal:
        return HiddenStates(signal["hidden"])
    if "ids" in signal:
        return TopK(signal["ids"], signal["log_probs"], signal["lse"][:, 0], origin["temperature"])
    return Dense(signal["log_probs"]) if signal else Nobody()


def to_arrow(rows: Sequence[Mapping[str, torch.Tensor] | None], origin: Mapping[str, Any]) -> pa.StructArray:
    """One row for each trace: its fields bit for bit, or empty lists where there are none."""
    columns = {name: _vectors([r[name] for r in rows if r], f) for name, f in fields(origin).items()}
    tokens = [len(next(iter(r.values()))) if r else 0 for r in rows]
    offsets = pa.array(np.cumsum([0, *tokens]), type=pa.int32())
    lists = [pa.ListArray.from_arrays(offsets, values) for values in columns.values()]
    return pa.StructArray.from_arrays(lists, names=list(columns))


def _vectors(parts: Iterable[torch.Tensor], field: Field) -> pa.FixedSizeListArray:
    torch_dtype, _, arrow_type = _STORED[field.dtype]
    flat = torch.cat([torch.empty(0, dtype=torch_dtype), *(p.reshape(-1) for p in parts)])
    bits = flat.view(torch.uint16) if torch_dtype is torch.bfloat16 else flat
    return pa.FixedSizeListArray.from_arrays(pa.array(bits.numpy(), type=arrow_type), field.width)


def from_arrow(column: pa.ChunkedArray, row: int, origin: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """The fields of one row, bit for bit as they were captured."""
    return {name: _tensor(column[row][name].values, f) for name, f in fields(origin).items()}


def _tensor(vectors: pa.FixedSizeListArray, field: Field) -> torch.Tensor:
    torch_dtype, numpy_type, _ = _STORED[field.dtype]
    flat = np.asarray(vectors.flatten().to_numpy(zero_copy_only=False), dtype=numpy_type).copy()
    tensor = torch.from_numpy(flat)
    return (tensor.view(torch.bfloat16) if torch_dtype is torch.bfloat16 else tensor).reshape(-1, field.width)
