"""What captured numbers are: noted in every shard, and compared with the student before any training."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .. import models
from ..errors import StoreError

MAX_MEAN_KL = 1e-2  # nats a token. A model computing in bfloat16 differs from itself in another batch by a tenth of
# that (and by more than that at single tokens, hence the mean); an unsupported head or a shifted token is far above.


def shared(model: Any, tokenizer: Any) -> dict[str, Any]:
    """What teacher and student must have in common for hidden states to be logits, and token ids the same words."""
    head_VH = models.head_weight(model)
    return {
        "head": models.tensor_digest(head_VH),
        "vocabulary": head_VH.shape[0],
        "hidden_size": head_VH.shape[1],
        "soft_cap": models.soft_cap(model),
        "norm": "hidden states are taken after the final norm",
        "tokenizer": models.tokenizer_digest(tokenizer),
    }


def refuse_unfit(origins: Iterable[dict[str, Any]], student: Any, tokenizer: Any) -> None:
    """Refuse shards whose signal is not the student's, or not certified.

    Raises:
        StoreError: one is; the message names what differs.
    """
    own = shared(student, tokenizer)
    remedy = "make it again: ssb run ... --force teach"
    for origin in origins:
        for name, value in own.items():
            if origin.get(name) != value:
                raise StoreError(
                    f"captured signal has the {name} {origin.get(name)}, the student {value}\n  remedy: {remedy}"
                )
        error = origin.get("mean_kl_error")
        if error is None or not 0 <= error <= MAX_MEAN_KL:
            raise StoreError(
                f"captured signal has no valid certificate: its mean KL error is {error}, {MAX_MEAN_KL} nats a token "
                f"are allowed\n  remedy: {remedy}"
            )
