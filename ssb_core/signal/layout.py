"""The Parquet layout of the teacher signal: one struct column, each field a list with one fixed-size vector per token.

| codec    | fields of a token                                          | content                                    |
|----------|------------------------------------------------------------|--------------------------------------------|
| `hidden` | `hidden` (H), the model's dtype                            | everything; read with the shared head      |
| `topk`   | `ids` (K) int32, `log_probs` (K) and `lse` (1), float32    | the K most probable tokens, the rest's mass|
| `dense`  | `log_probs` (V) float16                                    | everything, rounded; V / H times as large  |

Log-probabilities are at temperature 1: logits whose log-sum-exp is 0. `lse` is the log-sum-exp of all V of them divided
by the temperature T that the signal metadata names, so that the K are exact at T too. Arrow has no bfloat16: its bit
patterns are stored as uint16. A shard's schema metadata holds the signal metadata, which is needed to read it (see
`shards.describe`).
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
    """One vector of each token: the dtype of its numbers, and how many there are."""

    dtype: str
    width: int

    @property
    def nbytes(self) -> int:
        return self.width * _BYTES[self.dtype]


def fields(metadata: Mapping[str, Any]) -> dict[str, Field]:
    """The fields that a shard with this signal metadata stores for each token.

    Raises:
        StoreError: another version wrote the shard, or its codec is unknown.
    """
    codec, _, version = metadata["codec"].partition("/")
    match codec if version == str(CODEC_VERSION) else None:
        case "hidden":
            return {"hidden": Field(metadata["dtype"], metadata["hidden_size"])}
        case "topk":
            k = Field("float32", metadata["k"])
            return {"ids": Field("int32", metadata["k"]), "log_probs": k, "lse": Field("float32", 1)}
        case "dense":
            return {"log_probs": Field("float16", metadata["vocabulary"])}
    raise StoreError(
        f"captured signal has the codec {metadata['codec']}, but this version of ssb reads codecs of version "
        f"{CODEC_VERSION}\n  remedy: make it again: ssb run ... --force teach"
    )


def bytes_per_token(metadata: Mapping[str, Any]) -> int:
    """The size of a token's vectors before compression."""
    return sum(f.nbytes for f in fields(metadata).values())
