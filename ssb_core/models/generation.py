"""The generation settings that are saved with a model's weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..config import Decoding
from .tokenizers import end_of_turn

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedTokenizerBase

    from .resolve import ResolvedModel


def generation_config(
    model: ResolvedModel, tokenizer: PreTrainedTokenizerBase, decoding: Decoding | None = None
) -> GenerationConfig:
    """Settings that stop at every token that ends a turn and, if `decoding` is given, sample as it does.

    Nothing is taken from the settings that a base suggests: its penalties would change results, and its sampling is not
    always valid.
    """
    from transformers import GenerationConfig

    sampling: dict[str, Any] = {}
    if decoding:
        sampling["do_sample"] = bool(decoding.temperature)
    if decoding and decoding.temperature:
        sampling |= {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": 1.0}
    stops = list(end_of_turn(model, tokenizer))
    return GenerationConfig(eos_token_id=stops, pad_token_id=tokenizer.pad_token_id, **sampling)
