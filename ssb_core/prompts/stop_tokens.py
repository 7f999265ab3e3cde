"""The stop tokens of a model: sampling ends after any of them, because its turn is over."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .template import render

_CONTENT = "SSBREPLY"


def stop_ids(declared: Iterable[int | list[int] | None], tokenizer: Any) -> tuple[int, ...]:
    """The ids of all end-of-turn tokens, sorted.

    They come from three sources: `declared` (by the generation settings), the tokenizer's end of sequence, and the
    chat template. Each source alone is wrong for some family: generation settings that name only ``<|endoftext|>``,
    tokenizers whose end of sequence is not the end of a turn (Llama 3, Gemma, Phi), templates that close no turn.
    """
    stops: set[int] = set()
    for ids in (*declared, tokenizer.eos_token_id, closing_id(tokenizer)):
        stops |= set(ids if isinstance(ids, list) else [ids]) - {None}
    return tuple(sorted(stops))


def closing_id(tokenizer: Any) -> int | None:
    """The id of the added token that the chat template writes right after an assistant's text, or None."""
    from jinja2 import TemplateError

    if not tokenizer.chat_template:
        return None
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _CONTENT}]
    try:
        tail = render(tokenizer, turns).rpartition(_CONTENT)[2].lstrip()
    except TemplateError:
        return None
    ids: list[int] = tokenizer.encode(tail, add_special_tokens=False) if tail else []
    return ids[0] if ids and ids[0] in tokenizer.added_tokens_decoder else None
