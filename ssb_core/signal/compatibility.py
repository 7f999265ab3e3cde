"""Whether a student can learn from captured signal: properties stored in every shard, checked before any training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import models
from ..errors import StoreError

MAX_MEAN_KL = 1e-2
"""The largest mean KL error of a certificate, in nats per token.

A model that computes in bfloat16 differs from itself in another batch by a tenth of that (and by more at single tokens,
hence the mean). An unsupported head or a shifted token gives far more.
"""


def shared_properties(model: Any, tokenizer: Any) -> dict[str, Any]:
    """Properties that teacher and student share, so that hidden states are logits and token ids mean the same text."""
    head_VH = models.head_weight(model)
    return {
        "head": models.tensor_digest(head_VH),
        "vocabulary": head_VH.shape[0],
        "hidden_size": head_VH.shape[1],
        "soft_cap": models.soft_cap(model),
        "norm": "hidden states are taken after the final norm",
        "tokenizer": models.tokenizer_digest(tokenizer),
    }


def refuse_unfit(shards_metadata: Iterable[Mapping[str, Any]], student: Any, tokenizer: Any) -> None:
    """Refuse shards whose signal does not fit the student or is not certified, by their signal metadata.

    Raises:
        StoreError: a shard does not fit; the message names the property that differs.
    """
    own = shared_properties(student, tokenizer)
    remedy = "make it again: ssb run ... --force teach"
    for metadata in shards_metadata:
        for name, value in own.items():
            if metadata.get(name) != value:
                raise StoreError(
                    f"captured signal has the {name} {metadata.get(name)}, the student {value}\n  remedy: {remedy}"
                )
        error = metadata.get("mean_kl_error")
        if error is None or not 0 <= error <= MAX_MEAN_KL:
            raise StoreError(
                f"captured signal has no valid certificate: its mean KL error is {error}, and at most {MAX_MEAN_KL} "
                f"nats per token are allowed\n  remedy: {remedy}"
            )
