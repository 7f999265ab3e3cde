"""A solution as a person reads what the hint did to it: each token with its KL, and what became more and less likely.

A shard's schema metadata holds one such solution under `METADATA`, as texts, so that a report needs neither the model
nor its tokenizer.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..records import TeacherTrace
    from .hint import Effect

METADATA = "ssb_hint"
MARKED = 512  # tokens of the solution in a shard: more than a reader looks at, less than a hundredth of the signal
UNFINISHED = "\ufffd"  # what bytes are decoded to that are no whole character yet
LONGEST = 4  # tokens that a character may be made of


@dataclass(frozen=True, slots=True)
class Shift:
    """A token's probability in the bare student and in the hinted teacher; its text as it would stand there."""

    text: str
    bare: float
    hinted: float


@dataclass(frozen=True, slots=True)
class Mark:
    """One solution token, KL(teacher || bare student) there, and the tokens whose probability rose and fell most.

    KL is in nats, all at temperature 1. A text is what the token adds to the solution: it may be empty where several
    tokens make up a character, and `UNFINISHED` where they do not.
    """

    text: str
    kl: float
    raised: Shift
    lowered: Shift


@dataclass(frozen=True, slots=True)
class Marked:
    """The first `MARKED` tokens of a trace's solution, of `tokens`."""

    problem_id: str
    tokens: int
    marks: tuple[Mark, ...]

    @property
    def mean_kl(self) -> float:
        return sum(m.kl for m in self.marks) / len(self.marks)

    def dump(self) -> dict[bytes, bytes]:
        """As schema metadata, the same bytes for the same solution."""
        rows = [astuple(m) for m in self.marks]
        content = {"problem_id": self.problem_id, "tokens": self.tokens, "marks": rows}
        return {METADATA.encode(): json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()}

    @classmethod
    def load(cls, metadata: dict[bytes, bytes] | None) -> Marked | None:
        """What a shard's schema metadata holds, if it does."""
        if not metadata or METADATA.encode() not in metadata:
            return None
        content = json.loads(metadata[METADATA.encode()])
        return cls(content["problem_id"], content["tokens"], tuple(map(_unpacked, content["marks"])))


def mark(tokenizer: Any, trace: TeacherTrace, effect: Effect) -> Marked:
    """What `effect` says of a trace's solution, rounded to what is shown."""
    ids = trace.completion_ids[:MARKED]
    texts = pieces(tokenizer, ids)
    found = tuple(_mark(tokenizer, ids, i, text, effect) for i, text in enumerate(texts))
    return Marked(trace.problem_id, len(trace.completion_ids), found)


def mark_one(tokenizer: Any, trace: TeacherTrace, at: int, effect: Effect) -> Mark:
    """The same for the token at index `at` alone."""
    return _mark(tokenizer, trace.completion_ids, at, _after(tokenizer, trace.completion_ids, at), effect)


def _mark(tokenizer: Any, ids: Sequence[int], at: int, text: str, effect: Effect) -> Mark:
    shifts = zip(effect.ids_N2[at].tolist(), effect.bare_N2[at].tolist(), effect.hinted_N2[at].tolist(), strict=True)
    raised, lowered = (Shift(_after(tokenizer, ids, at, i), round(bare, 4), round(to, 4)) for i, bare, to in shifts)
    return Mark(text, round(effect.kl_N[at].item(), 4), raised, lowered)


def _unpacked(row: tuple[str, float, Sequence[Any], Sequence[Any]]) -> Mark:
    text, kl, raised, lowered = row
    return Mark(text, kl, Shift(*raised), Shift(*lowered))


def _after(tokenizer: Any, ids: Sequence[int], at: int, token: int | None = None) -> str:
    """What a token, by default the one that is there, adds to the text at index `at`."""
    before = list(ids[max(0, at - LONGEST) : at])
    whole = decoded(tokenizer, [*before, ids[at] if token is None else token])
    return whole[len(decoded(tokenizer, before).rstrip(UNFINISHED)) :]


def pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """What each token adds to the text; together they are exactly the text.

    A character that several tokens make up belongs to the last of them.
    """
    text = decoded(tokenizer, ids)
    ends = [len(decoded(tokenizer, ids[:n]).rstrip(UNFINISHED)) for n in range(1, len(ids))]
    return [text[a:b] for a, b in pairwise([0, *accumulate(ends, max), len(text)])][: len(ids)]


def decoded(tokenizer: Any, ids: Sequence[int]) -> str:
    """The text of token ids, special tokens by their names."""
    text: str = tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
