"""Text that holds the name of a special token, such as ``<|im_end|>`` in a question, is shown as text.

A tokenizer reads such a name wherever it stands, so whoever writes a problem could end the user's turn and speak as
the system. Here the tokens that make turns get secret names: in the rendered conversation where the chat template put
them, and in a copy of the tokenizer. The same name in what was said is then text like any other, and nothing else about
how the conversation is read differs.

Templates that mark turns with words (``user: ...``) can be imitated with words; no tokenizer could tell.
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

    from . import Messages

_SEAL = f"seal{secrets.token_hex(16)}"  # behind each name that the template wrote; it reaches no result
_QUOTE = f"quote{secrets.token_hex(16)}:"  # before each name that somebody said, in hexadecimal while it is rendered
_QUOTED = re.compile(rf"{_QUOTE}([0-9a-f]*)\.")


def quotes(tokenizer: PreTrainedTokenizerBase, messages: Messages, probe: str) -> bool:
    """Whether anything said would be read as a token that makes turns. `probe` is a conversation, rendered."""
    names = _pattern(tokenizer, probe)
    said = [m["content"] for m in messages]
    if any(names.search(text) for text in said):
        return True
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if not normalizer:
        return False
    normal = {normalizer.normalize_str(name) for name in _names(tokenizer, probe)} | set(_names(tokenizer, probe))
    return any(name in text for text in map(normalizer.normalize_str, said) for name in normal if name.strip())


def encode(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, probe: str, render: Callable[[Messages], str]
) -> tuple[int, ...]:
    """Token ids of `messages` as `render` writes them, with every name of a special token in what was said as text.

    Raises:
        ConfigError: the tokenizer is of a kind that cannot be told to.
    """
    names = _pattern(tokenizer, probe)
    quoted = [{**m, "content": names.sub(lambda n: f"{_QUOTE}{n[0].encode().hex()}.", m["content"])} for m in messages]
    sealed = names.sub(lambda n: n[0] + _SEAL, render(quoted))
    sealed = _QUOTED.sub(lambda quote: bytes.fromhex(quote[1]).decode(), sealed)
    return tuple(_sealed(tokenizer, probe).encode(sealed, add_special_tokens=False).ids)


@lru_cache(maxsize=4)
def _names(tokenizer: PreTrainedTokenizerBase, probe: str) -> tuple[str, ...]:
    """Names of the special tokens, and of those that the template writes though nobody called them special."""
    added = tokenizer.added_tokens_decoder.values()
    return tuple(sorted(t.content for t in added if t.content.strip() and (t.special or t.content in probe)))


@lru_cache(maxsize=4)
def _pattern(tokenizer: PreTrainedTokenizerBase, probe: str) -> re.Pattern[str]:
    """Finds names as tokenizers do: the longest of those that begin first."""
    names = sorted(_names(tokenizer, probe), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, names)) or r"(?!)")


@lru_cache(maxsize=4)
def _sealed(tokenizer: PreTrainedTokenizerBase, probe: str) -> Any:
    """The tokenizer, but with sealed names; no other text makes the tokens that have them."""
    from tokenizers import Tokenizer

    refused = ConfigError(
        f"model.source: a problem, rollout or worked example holds the text of a special token, and the tokenizer of "
        f"{tokenizer.name_or_path} cannot read that as text\n"
        "  remedy: give a model with a tokenizer.json, or leave out what holds such a text"
    )
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise refused
    names = set(_names(tokenizer, probe))
    rules = json.loads(backend.to_str())
    rules["truncation"] = rules["padding"] = None  # of the last call
    for token in rules["added_tokens"]:
        token["content"] = _renamed(token["content"], names)
    _rename(rules["model"], names)
    sealed = Tokenizer.from_str(json.dumps(rules))
    if any(sealed.token_to_id(name + _SEAL) != backend.token_to_id(name) for name in names):
        raise refused
    return sealed


def _rename(model: dict[str, Any], names: set[str]) -> None:
    """Seal names in a model's vocabulary, so that no text is split into or merged to them."""
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
    """Both parts of a merge, and what they make."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return {first, second, first + second}
