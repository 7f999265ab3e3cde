"""The cost of a student: problems, generated tokens and seconds, over its request and all requests it builds on."""

from __future__ import annotations

from dataclasses import dataclass

from ..stages import lineage, required, rollouts, teach
from ..stages.baselines import Student
from ..store import Store, work


@dataclass(frozen=True, slots=True)
class Cost:
    """`problems` were sampled for the student with `tokens` completion tokens in all; it was trained on `traces`.

    `seconds` sums the time of whichever runs made the parts, loading of models included. It does not include the time
    of killed processes, nor that of shards which an earlier request of the stage had made (one of fewer problems, say).
    `traces` is None for grpo, which has none.
    """

    problems: int
    tokens: int
    traces: int | None
    seconds: float


def cost(student: Student, store: Store) -> Cost:
    """The cost of a finished student. Work that it shares with other students is counted in full.

    The teacher is not counted for rft: it gets the taught problems only so that it is comparable.
    """
    parts = [s for s in lineage(student) if not (student.method == "rft" and s.stage == "teach")]
    stats = {s.fingerprint: required(s, store).stats for s in parts}
    seconds = round(sum(work.read_seconds(store, s.recipe, s.fingerprint) for s in parts), 2)
    if student.method == "grpo":
        own = stats[student.fingerprint]
        return Cost(own["problems"], own["tokens"], None, seconds)
    waves = [s for s in parts if isinstance(s, rollouts.Spec)]
    written = sum(stats[s.fingerprint]["written_tokens"] for s in parts if isinstance(s, teach.Solutions))
    sampled = sum(stats[s.fingerprint]["tokens"] for s in waves)
    traces = stats[student.fingerprint]["traces"]
    return Cost(sum(s.stop - s.start for s in waves), sampled + written, traces, seconds)
