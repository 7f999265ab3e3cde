"""The cost of results, whichever runs made them: of one student over all requests it builds on, and of a whole run."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..stages import Spec, lineage, required, rollouts, teach
from ..stages.baselines import Student
from ..stages.execute import parts
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


@dataclass(frozen=True, slots=True)
class Making:
    """The time and the completion tokens that all results of a run took. It counts no time as `Cost` counts none."""

    seconds: float
    tokens: int


def making_seconds(specs: Iterable[Spec], store: Store) -> float:
    """The time that finished requests and their parts took, in the runs that made them."""
    each = {s.fingerprint: s for spec in specs for s in (*parts(spec), spec)}
    return round(sum(work.read_seconds(store, s.recipe, s.fingerprint) for s in each.values()), 2)


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
