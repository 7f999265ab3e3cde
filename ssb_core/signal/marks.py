"""A solution annotated for a reader: each token with its KL and the tokens that the hint made more and less likely.

The schema metadata of a shard holds one such solution under `METADATA`, as text, so that a report needs neither the
model nor its tokenizer. `annotate` makes these records.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Any

METADATA = "ssb_hint"


@dataclass(frozen=True, slots=True)
class Shift:
    """A token's probability in the bare student and in the hinted teacher, with the text that it would add."""

    text: str
    bare: float
    hinted: float


@dataclass(frozen=True, slots=True)
class TokenEffect:
    """One solution token: KL(teacher || bare student), and the tokens whose probability rose most and fell most.

    KL is in nats; everything is at temperature 1. `text` is the text that the token adds to the solution. It is empty
    if a later token completes the character, and U+FFFD where bytes make no character.
    """

    text: str
    kl: float
    raised: Shift
    lowered: Shift


@dataclass(frozen=True, slots=True)
class AnnotatedSolution:
    """The first tokens of a trace's solution with the effect of the hint; the whole solution has `tokens` tokens."""

    problem_id: str
    tokens: int
    effects: tuple[TokenEffect, ...]

    @property
    def mean_kl(self) -> float:
        return sum(e.kl for e in self.effects) / len(self.effects)

    def dump(self) -> dict[bytes, bytes]:
        """The solution as schema metadata. Equal solutions give equal bytes."""
        rows = [astuple(e) for e in self.effects]
        content = {"problem_id": self.problem_id, "tokens": self.tokens, "marks": rows}
        return {METADATA.encode(): json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()}

    @classmethod
    def load(cls, metadata: Mapping[bytes, bytes] | None) -> AnnotatedSolution | None:
        """The solution that a shard's schema metadata has, or None if it has none."""
        if not metadata or METADATA.encode() not in metadata:
            return None
        content = json.loads(metadata[METADATA.encode()])
        return cls(content["problem_id"], content["tokens"], tuple(map(_token_effect, content["marks"])))


def _token_effect(row: tuple[str, float, Sequence[Any], Sequence[Any]]) -> TokenEffect:
    text, kl, raised, lowered = row
    return TokenEffect(text, kl, Shift(*raised), Shift(*lowered))
