"""What a student took to make: problems, generated tokens and seconds, over its request and all that it builds on."""

from __future__ import annotations

from dataclasses import dataclass

from ..stages import lineage, required, rollouts, teach
from ..stages.baselines import Student
from ..store import Store, work


@dataclass(frozen=True, slots=True)
class Cost:
    """`problems` were sampled from for the student, `tokens` is how many completion tokens; it learned from `traces`.

    `seconds` were spent in whichever runs made the parts, loading of models included. Not among them is what a killed
    process spent, and what shards took that another request of the stage had made before (one of fewer problems, say).
    """

    problems: int
    tokens: int
    traces: int | None
    seconds: float


def cost(student: Student, store: Store) -> Cost:
    """What a finished student took. Its share of work that other students share is counted in full.

    rft needs no teacher: that it is given the problems which were taught only makes it comparable.
    """
    parts = [s for s in lineage(student) if not (student.method == "rft" and s.stage == "teach")]
    stats = {s.fingerprint: required(s, store).stats for s in parts}
    seconds = round(sum(work.read_seconds(store, s.recipe, s.fingerprint) for s in parts), 2)
    if student.method == "grpo":
        own = stats[student.fingerprint]
        return Cost(own["problems"], own["tokens"], None, seconds)
    asked = [s for s in parts if isinstance(s, rollouts.Spec)]
    written = sum(stats[s.fingerprint]["written_tokens"] for s in parts if isinstance(s, teach.Solutions))
    sampled = sum(stats[s.fingerprint]["tokens"] for s in asked)
    traces = stats[student.fingerprint]["traces"]
    return Cost(sum(s.stop - s.start for s in asked), sampled + written, traces, seconds)
