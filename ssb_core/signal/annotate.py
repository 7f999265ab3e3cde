"""Annotation of a solution with the effect of the hint: token ids and tensors become texts and rounded numbers."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

from .marks import AnnotatedSolution, Shift, TokenEffect

if TYPE_CHECKING:
    from ..records import TeacherTrace
    from .hint_effect import HintEffect

UNFINISHED = "\ufffd"  # bytes are decoded to it as long as they are no whole character
LONGEST = 4  # tokens that may make up one character


def annotate_solution(tokenizer: Any, trace: TeacherTrace, effect: HintEffect) -> AnnotatedSolution:
    """Annotate as many tokens of a trace's solution, from its beginning, as `effect` has."""
    ids = trace.completion_ids[: len(effect.kl_N)]
    texts = token_texts(tokenizer, ids)
    effects = tuple(_token_effect(tokenizer, ids, i, text, effect) for i, text in enumerate(texts))
    return AnnotatedSolution(trace.problem_id, len(trace.completion_ids), effects)


def annotate_token(tokenizer: Any, trace: TeacherTrace, index: int, effect: HintEffect) -> TokenEffect:
    """Annotate the token at `index` alone; `effect` is that of the whole solution."""
    text = _added_text(tokenizer, trace.completion_ids, index)
    return _token_effect(tokenizer, trace.completion_ids, index, text, effect)


def _token_effect(tokenizer: Any, ids: Sequence[int], index: int, text: str, effect: HintEffect) -> TokenEffect:
    """The effect at one token, rounded to the digits that are shown."""
    columns = (column[index].tolist() for column in (effect.ids_N2, effect.bare_N2, effect.hinted_N2))
    raised, lowered = (
        Shift(_added_text(tokenizer, ids, index, token), round(bare, 4), round(hinted, 4))
        for token, bare, hinted in zip(*columns, strict=True)
    )
    return TokenEffect(text, round(effect.kl_N[index].item(), 4), raised, lowered)


def _added_text(tokenizer: Any, ids: Sequence[int], index: int, token: int | None = None) -> str:
    """The text that `token`, by default the one at `index`, adds to the text before it."""
    before = list(ids[max(0, index - LONGEST) : index])
    text = decode(tokenizer, [*before, ids[index] if token is None else token])
    return text[len(decode(tokenizer, before).rstrip(UNFINISHED)) :]


def token_texts(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; joined they are exactly the whole text.

    A character that several tokens make up belongs to the last of them.
    """
    text = decode(tokenizer, ids)
    ends = [len(decode(tokenizer, ids[:n]).rstrip(UNFINISHED)) for n in range(1, len(ids))]
    return [text[a:b] for a, b in pairwise([0, *accumulate(ends, max), len(text)])][: len(ids)]


def decode(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, with the names of special tokens."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
