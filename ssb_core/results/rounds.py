"""Rounds of bootstrapping: base and hinted teacher of each in numbers, which show whether the teacher drifts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from ..records import Drop
from ..stages import Spec, required, rollouts, select, teach
from ..store import Store


@dataclass(frozen=True, slots=True)
class Round:
    """One round. Its base is the student of the round before.

    `bare_accuracy` and `bare_tokens` are means over the base's rollouts. `hinted_accuracy` and `hinted_tokens` are
    means over the solutions that the same model wrote with the hint, before any was dropped. They are None if there
    were none.
    """

    number: int
    problems: int
    mixed: int
    taught: int
    bare_accuracy: float | None
    hinted_accuracy: float | None
    bare_tokens: float | None
    hinted_tokens: float | None


def rounds(store: Store, specs: Sequence[Spec]) -> list[Round]:
    """Every round of SSB itself in which a selection was made."""
    numbers = sorted({s.round for s in specs if isinstance(s, select.Spec)})
    return [_round(store, number, [s for s in specs if s.round == number]) for number in numbers]


def _round(store: Store, number: int, specs: Sequence[Spec]) -> Round:
    sampled = _sum_stats(store, [s for s in specs if isinstance(s, rollouts.Spec)])
    selections = [s for s in specs if isinstance(s, select.Spec)]
    taught = _sum_stats(store, [s for s in specs if isinstance(s, teach.Spec) and not s.labels])
    written = sum(taught[reason] for reason in ("taught", *get_args(Drop)) if reason != "too_long")
    statuses = Counter(
        verdict["status"]
        for selection in selections
        for table in store.tables(required(selection, store), ["verdicts"])
        for verdicts in table["verdicts"].to_pylist()
        for verdict in verdicts
    )
    return Round(
        number=number,
        problems=sum(s.rollouts.stop - s.rollouts.start for s in selections),
        mixed=_sum_stats(store, selections)["mixed"],
        taught=taught["taught"],
        bare_accuracy=_mean(statuses["correct"], statuses.total()),
        hinted_accuracy=_mean(
            taught["taught"] + taught["leak"], written
        ),  # a solution with a leak is right, but unused
        bare_tokens=_mean(sampled["tokens"], sampled["samples"]),
        hinted_tokens=_mean(taught["written_tokens"], written),
    )


def _sum_stats(store: Store, specs: Sequence[Spec]) -> Counter[str]:
    """The integers among the statistics of several requests, summed by name."""
    total: Counter[str] = Counter()
    for spec in specs:
        total.update({k: n for k, n in required(spec, store).stats.items() if isinstance(n, int)})
    return total


def _mean(total: int, n: int) -> float | None:
    return total / n if n else None
