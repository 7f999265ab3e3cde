"""The model's tokenizer: its loading, the tokens that end a turn, and a digest of everything that decides its token
ids."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..config.secrets import hub_token
from ..errors import ConfigError
from ..prompts import stop_tokens
from ..store import digest
from .config import generation_settings
from .from_pretrained import load
from .resolve import ResolvedModel, local

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def load_tokenizer(model: ResolvedModel) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, with `model.chat_template` if that is set, padding on the left for generation.

    A token that ends a turn replaces a missing pad token. That is safe because padding is never read: masks come from
    lengths, and a completion ends with its first end-of-turn token, so padding after it is cut off.

    Raises:
        ConfigError: the tokenizer has no pad token and no token that ends a turn.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = load(
        AutoTokenizer.from_pretrained,
        local(model),
        revision=model.revision,
        token=hub_token(),
        padding_side="left",
    )
    if model.chat_template is not None:
        tokenizer.chat_template = model.chat_template
    if tokenizer.pad_token_id is None:
        eos = tokenizer.eos_token_id
        tokenizer.pad_token_id = end_of_turn(model, tokenizer)[0] if eos is None else eos
    return tokenizer


def end_of_turn(model: ResolvedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> tuple[int, ...]:
    """Every token that ends the model's turn, sorted. Needs no weights.

    They come from the model's generation settings (or configuration), its tokenizer, and the text with which its chat
    template closes an assistant's turn, because checkpoints of every family omit one in one of these places.

    Raises:
        ConfigError: no token ends a turn, so sampling would never stop; or the generation settings cannot be read.
    """
    ids = stop_tokens.stop_ids([generation_settings(model).eos_token_id], tokenizer or load_tokenizer(model))
    if not ids:
        raise ConfigError(
            f"model {model.source} names no token that ends a turn\n"
            "  remedy: set eos_token_id in its generation_config.json, or eos_token in its tokenizer_config.json"
        )
    return ids


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hexadecimal digits of everything that decides a conversation's ids: vocabulary, rules and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend else tokenizer.get_vocab()
    for state in ("padding", "truncation") if backend else ():  # left over from the last call
        rules.pop(state, None)
    return digest([rules, tokenizer.chat_template])
