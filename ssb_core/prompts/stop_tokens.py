"""Where a model's turn ends: the tokens after which nothing more is sampled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from . import render

_CONTENT = "SSBREPLY"


def stop_ids(declared: Iterable[int | list[int] | None], tokenizer: Any) -> tuple[int, ...]:
    """All end-of-turn tokens, sorted: declared by settings, by the tokenizer, and by what the chat template writes.

    Each source alone is wrong for some family: generation settings that name only ``<|endoftext|>``, tokenizers whose
    end of sequence is not the end of a turn (Llama 3, Gemma, Phi), templates that close nothing.
    """
    found: set[int] = set()
    for ids in (*declared, tokenizer.eos_token_id, closing(tokenizer)):
        found |= set(ids if isinstance(ids, list) else [ids]) - {None}
    return tuple(sorted(found))


def closing(tokenizer: Any) -> int | None:
    """The added token that the chat template writes right behind an assistant's words, if it does."""
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
