"""How the teacher signal lies in Parquet: one column, a struct with a list of fixed-size vectors, one a token, a field.

| codec    | fields of a token                                          | what it keeps                              |
|----------|------------------------------------------------------------|--------------------------------------------|
| `hidden` | `hidden` (H), the model's dtype                            | everything; read with the shared head      |
| `topk`   | `ids` (K) int32, `log_probs` (K) and `lse` (1), float32    | the K most probable tokens, the rest's mass|
| `dense`  | `log_probs` (V) float16                                    | everything, rounded; V / H times as large  |

Log-probabilities are at temperature 1: logits whose log-sum-exp is 0. `lse` is the log-sum-exp of all V of them divided
by the temperature T that the origin names, so that the K are exact at T too. Arrow has no bfloat16: its bit patterns
are stored as uint16. What is needed to read a shard, its `origin`, is in the schema metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import StoreError

COLUMN = "signal"
METADATA = "ssb_signal"
CODEC_VERSION = 2
_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2, "int32": 4}


@dataclass(frozen=True, slots=True)
class Field:
    """One vector a token: its numbers' dtype and their count."""

    dtype: str
    width: int

    @property
    def nbytes(self) -> int:
        return self.width * _BYTES[self.dtype]


def fields(origin: Mapping[str, Any]) -> dict[str, Field]:
    """What a shard of this origin stores for each token.

    Raises:
        StoreError: it was written by another version, or by a codec that is not known.
    """
    codec, _, version = origin["codec"].partition("/")
    match codec if version == str(CODEC_VERSION) else None:
        case "hidden":
            return {"hidden": Field(origin["dtype"], origin["hidden_size"])}
        case "topk":
            k = Field("float32", origin["k"])
            return {"ids": Field("int32", origin["k"]), "log_probs": k, "lse": Field("float32", 1)}
        case "dense":
            return {"log_probs": Field("float16", origin["vocabulary"])}
    raise StoreError(
        f"captured signal has the codec {origin['codec']}, and codecs of version {CODEC_VERSION} are read here\n"
        "  remedy: make it again: ssb run ... --force teach"
    )


def bytes_per_token(origin: Mapping[str, Any]) -> int:
    """What a token's vectors take before compression."""
    return sum(f.nbytes for f in fields(origin).values())
