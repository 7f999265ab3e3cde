"""The page of a comparison: one self-contained file that shows both texts of every flipped problem."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .. import problems
from ..results.compare import BenchmarkComparison, Comparison, Flip
from ..results.wording import count
from ..store import write_text
from .header import is_nano
from .problem_history import describe_completion
from .render import render
from .tables import comparison_table
from .verdict import comparison_in_words

TEMPLATE = "compare.html.j2"
SHOWN = 20  # flipped problems of a direction that are listed outside of a fold


def default_path(comparison: Comparison) -> Path:
    """The path of the page if the user names none: beside the second run's report."""
    first, second = comparison.first, comparison.second
    return second.run.directory / f"compare-{second.model}-with-{first.run.name}-{first.model}.html"


def write(comparison: Comparison, path: Path) -> None:
    """Write the page."""
    write_text(path, page(comparison))


def page(comparison: Comparison) -> str:
    """The whole page. Of each benchmark it shows the problems on which the second side is worse first."""
    parts = [_benchmark(comparison, c) for c in comparison.benchmarks]
    return render(
        TEMPLATE,
        {
            "first": comparison.first,
            "second": comparison.second,
            "notes_on_both": comparison.notes,
            "benchmarks": parts,
            "shown": SHOWN,
            "sections": [entry for part in parts for entry in _entries(part)],
            "describe_completion": describe_completion,
            "change": change,
        },
    )


def _benchmark(comparison: Comparison, c: BenchmarkComparison) -> dict[str, Any]:
    """The values that the template shows of one benchmark."""
    first, second = comparison.first, comparison.second
    worse, better = count(len(c.worsened), "problem"), count(len(c.improved), "problem")
    described = [side.load_benchmarks()[c.benchmark] for side in (first, second)]
    return {
        "comparison": c,
        "count": f"{c.benchmark}: {second.label} is worse on {worse} and better on {better}.",
        "verdict": comparison_in_words(c, first, second),
        "rows": comparison_table(c, first, second),
        "described": described,
        "is_nano": described[0]["source"] in problems.EMBEDDED and any(map(is_nano, (first.run, second.run))),
        "flips": (
            ("worse", f"Worse in {second.label}: {worse}", c.worsened),
            ("better", f"Better in {second.label}: {better}", c.improved),
        ),
    }


def _entries(part: dict[str, Any]) -> list[tuple[str, str, bool]]:
    """The entries of one benchmark in the table of contents: anchor, title, and that they are there."""
    name = part["comparison"].benchmark
    flips = [(f"{direction}:{name}", f"{len(of):,} {direction}", True) for direction, _, of in part["flips"]]
    return [(name, name, True), *flips]


def change(flip: Flip) -> str:
    """``right to wrong``, or with several samples ``1 of 4 right, then 3 of 4``."""
    first, second = flip.first, flip.second
    if len(first.samples) == len(second.samples) == 1:
        return "wrong to right" if flip.change > 0 else "right to wrong"
    return f"{first.correct} of {len(first.samples)} right, then {second.correct} of {len(second.samples)}"
