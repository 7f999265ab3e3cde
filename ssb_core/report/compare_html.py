"""A comparison as a person reads it: its numbers in words and cells, and one self-contained page with all flips."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from .. import report
from ..results import problem_history, wording
from ..results.compare import Compared, Comparison, Flip, Score, Side
from ..store import atomic_write

TEMPLATE = "compare.html.j2"


def in_words(compared: Compared, first: Side, second: Side) -> str:
    """Whether the two differ, in a sentence."""
    paired = asdict(compared.paired)
    low, high = compared.paired.ci95
    relation, noise = "cannot be told apart from", "not distinguishable from noise"
    if wording.significant(paired):
        relation, noise = "is better than" if low > 0 else "is worse than", "distinguishable from noise"
    answered = wording.how_many({"n": compared.n, "of": compared.of, "partial": compared.partial})
    a, b = (f"{wording.percent(s.accuracy)}%" for s in (compared.first, compared.second))
    return (
        f"On {answered} of {compared.benchmark}, {second.label} ({b}) {relation} "
        f"{first.label} ({a}): {wording.points(compared.paired.difference)} points, {noise} "
        f"(paired 95% interval {wording.points(low)} to {wording.points(high)}, {wording.p_value(paired['p_value'])})."
    )


def rows(compared: Compared, first: Side, second: Side) -> list[dict[str, str]]:
    """The paired table as formatted cells, the first side's row first."""
    low, high = compared.paired.ci95
    vs = f"{wording.points(compared.paired.difference)} ({wording.points(low)} to {wording.points(high)})"
    counts = f"{len(compared.improved):,}", f"{len(compared.worsened):,}", f"{compared.alike:,}"
    cells = [vs, wording.p_value(compared.paired.p_value).removeprefix("p = ").removeprefix("p "), *counts]
    names = ["second minus first", "p-value", "better", "worse", "alike"]
    return [
        _cells(first.label, compared.first) | dict.fromkeys(names, ""),
        _cells(second.label, compared.second) | dict(zip(names, cells, strict=True)),
    ]


def _cells(label: str, score: Score) -> dict[str, str]:
    low, high = map(wording.percent, score.ci95)
    return {"model": label, "accuracy": f"{wording.percent(score.accuracy)}%", "95% interval": f"{low} to {high}"}


def change(flip: Flip) -> str:
    """``right to wrong``, or of several samples ``1 of 4 right, then 3 of 4``."""
    first, second = flip.first, flip.second
    if len(first.samples) == len(second.samples) == 1:
        return "wrong to right" if flip.change > 0 else "right to wrong"
    return f"{first.correct} of {len(first.samples)} right, then {second.correct} of {len(second.samples)}"


def place(comparison: Comparison) -> Path:
    """Where the page goes unless told otherwise: beside the second run's report."""
    first, second = comparison.first, comparison.second
    return second.run.directory / f"compare-{second.model}-with-{first.run.name}-{first.model}.html"


def write(comparison: Comparison, path: Path) -> None:
    """Write the self-contained page with both texts of every flipped problem side by side."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        temporary.write_text(page(comparison), encoding="utf-8")


def page(comparison: Comparison) -> str:
    """The page; what models wrote is escaped by the template."""
    first, second = comparison.first, comparison.second
    return report.rendered(
        TEMPLATE,
        {
            "first": first,
            "second": second,
            "notes_on_both": comparison.notes,
            "told": [
                {
                    "compared": c,
                    "words": in_words(c, first, second),
                    "rows": rows(c, first, second),
                    "partial": c.partial,
                    "stated": (first.benchmarks[c.benchmark], second.benchmarks[c.benchmark]),
                    "flips": ((f"Better in {second.label}", c.improved), (f"Worse in {second.label}", c.worsened)),
                }
                for c in comparison.benchmarks
            ],
            "answer": problem_history.answer,
            "change": change,
        },
    )
