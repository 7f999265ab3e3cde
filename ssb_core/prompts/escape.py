"""Encode messages so that the name of a special token in them, such as ``<|im_end|>`` in a question, stays text.

A tokenizer reads such a name as the token, wherever it is. So the author of a problem could end the user's turn and
write a system turn. To prevent this, the tokens that make turns get secret names, both in the conversation that the
chat template rendered and in a copy of the tokenizer. The public name in a message is then ordinary text, and
everything else is tokenized as before.

A template that marks turns with plain words (``user: ...``) can still be imitated with words; no tokenizer could tell.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from .messages import Messages

_SEAL = f"seal{secrets.token_hex(16)}"  # added to each name that the template wrote; it reaches no result
_QUOTE = (
    f"quote{secrets.token_hex(16)}:"  # marks each name in a message, which is in hexadecimal while the template renders
)
_QUOTED = re.compile(rf"{_QUOTE}([0-9a-f]*)\.")


def contains_special_token(tokenizer: PreTrainedTokenizerBase, messages: Messages, probe: str) -> bool:
    """Whether any text in `messages` would be read as a token that makes turns.

    `probe` is a rendered conversation, which shows the tokens that the template writes.
    """
    names = _pattern(tokenizer, probe)
    texts = [m["content"] for m in messages]
    if any(names.search(text) for text in texts):
        return True
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if not normalizer:
        return False
    normal = {normalizer.normalize_str(name) for name in _names(tokenizer, probe)} | set(_names(tokenizer, probe))
    return any(name in text for text in map(normalizer.normalize_str, texts) for name in normal if name.strip())


def encode(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, probe: str, render: Callable[[Messages], str]
) -> tuple[int, ...]:
    """The token ids of `messages` as `render` writes them. Every name of a special token in a message stays text.

    Raises:
        ConfigError: the tokenizer is of a kind that cannot be copied with other names.
    """
    names = _pattern(tokenizer, probe)
    quoted = [{**m, "content": names.sub(lambda n: f"{_QUOTE}{n[0].encode().hex()}.", m["content"])} for m in messages]
    sealed = names.sub(lambda n: n[0] + _SEAL, render(quoted))
    sealed = _QUOTED.sub(lambda quote: bytes.fromhex(quote[1]).decode(), sealed)
    return tuple(_sealed(tokenizer, probe).encode(sealed, add_special_tokens=False).ids)


@lru_cache(maxsize=4)
def _names(tokenizer: PreTrainedTokenizerBase, probe: str) -> tuple[str, ...]:
    """The names of the special tokens, and of other added tokens that the template writes."""
    added = tokenizer.added_tokens_decoder.values()
    return tuple(sorted(t.content for t in added if t.content.strip() and (t.special or t.content in probe)))


@lru_cache(maxsize=4)
def _pattern(tokenizer: PreTrainedTokenizerBase, probe: str) -> re.Pattern[str]:
    """A pattern that finds names as tokenizers do: the earliest, and of those the longest."""
    names = sorted(_names(tokenizer, probe), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


@lru_cache(maxsize=4)
def _sealed(tokenizer: PreTrainedTokenizerBase, probe: str) -> Any:
    """A copy of the tokenizer with sealed names. No other text makes the tokens with these names."""
    from tokenizers import Tokenizer

    refused = ConfigError(
        f"model.source: a problem, rollout or worked example contains the text of a special token, and the tokenizer "
        f"of {tokenizer.name_or_path} cannot read that as text\n"
        "  remedy: use a model with a tokenizer.json, or remove what contains such a text"
    )
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise refused
    names = set(_names(tokenizer, probe))
    rules = json.loads(backend.to_str())
    rules["truncation"] = rules["padding"] = None  # they are left from the last call
    for token in rules["added_tokens"]:
        token["content"] = _renamed(token["content"], names)
    _rename(rules["model"], names)
    sealed = Tokenizer.from_str(json.dumps(rules))
    if any(sealed.token_to_id(name + _SEAL) != backend.token_to_id(name) for name in names):
        raise refused
    return sealed


def _rename(model: dict[str, Any], names: set[str]) -> None:
    """Seal names in the vocabulary of a tokenizer's model, so that no text is split into them or merged to them."""
    vocab = model["vocab"]
    if isinstance(vocab, dict):
        model["vocab"] = {_renamed(piece, names): i for piece, i in vocab.items()}
    else:
        model["vocab"] = [[_renamed(piece, names), score] for piece, score in vocab]
    if model.get("unk_token"):
        model["unk_token"] = _renamed(model["unk_token"], names)
    if "merges" in model:
        model["merges"] = [m for m in model["merges"] if not names & _pieces(m)]


def _renamed(name: str, names: set[str]) -> str:
    return name + _SEAL if name in names else name


def _pieces(merge: str | Sequence[str]) -> set[str]:
    """Both parts of a merge, and the piece that they make."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return {first, second, first + second}
