"""The page of a comparison: one self-contained file that shows both texts of every flipped problem."""

from __future__ import annotations

from pathlib import Path

from ..results.compare import Comparison, Flip
from .problem_history import describe_completion
from .render import render, write_page
from .tables import comparison_table
from .verdict import comparison_in_words

TEMPLATE = "compare.html.j2"


def default_path(comparison: Comparison) -> Path:
    """The path of the page if the user names none: beside the second run's report."""
    first, second = comparison.first, comparison.second
    return second.run.directory / f"compare-{second.model}-with-{first.run.name}-{first.model}.html"


def write(comparison: Comparison, path: Path) -> None:
    """Write the page."""
    write_page(path, page(comparison))


def page(comparison: Comparison) -> str:
    """The whole page."""
    first, second = comparison.first, comparison.second
    benchmarks = first.load_benchmarks(), second.load_benchmarks()
    return render(
        TEMPLATE,
        {
            "first": first,
            "second": second,
            "notes_on_both": comparison.notes,
            "benchmarks": [
                {
                    "comparison": c,
                    "verdict": comparison_in_words(c, first, second),
                    "rows": comparison_table(c, first, second),
                    "described": [b[c.benchmark] for b in benchmarks],
                    "flips": ((f"Better in {second.label}", c.improved), (f"Worse in {second.label}", c.worsened)),
                }
                for c in comparison.benchmarks
            ],
            "describe_completion": describe_completion,
            "change": change,
        },
    )


def change(flip: Flip) -> str:
    """``right to wrong``, or with several samples ``1 of 4 right, then 3 of 4``."""
    first, second = flip.first, flip.second
    if len(first.samples) == len(second.samples) == 1:
        return "wrong to right" if flip.change > 0 else "right to wrong"
    return f"{first.correct} of {len(first.samples)} right, then {second.correct} of {len(second.samples)}"
