"""Task evaluate: one model on one benchmark."""

from collections.abc import Mapping
from typing import Any

from ssb_core import charts, report
from ssb_core.markdown import escaped, picture, table
from ssb_core.runs import Run

from .artifacts import Page
from .caching import stage_task

evaluate = stage_task("evaluate", "Sample and grade one model on one held-out benchmark.", "gpu")

PICTURES = ("rounds", "costs", "votes", "lengths")
"""The report's charts that are about results, beside that of accuracy."""


def page(name: str, benchmarks: dict[str, Any], pictures: Mapping[str, bytes]) -> Page | None:
    """The verdict in words, the table with intervals and the plot of what run `name` evaluated so far."""
    figure = charts.accuracy(benchmarks)
    if not figure:
        return None
    scores = {"benchmarks": benchmarks}
    verdict = report.verdict_in_words(scores).splitlines()
    rows = [{column: escaped(cell) for column, cell in row.items()} for row in report.results_table(scores)]
    parts = ["# Results", *(escaped(line) for line in verdict), table(rows, left=2)]
    parts.append(picture("accuracy", charts.png(figure)))
    parts += [picture(which, pictures[which]) for which in PICTURES if which in pictures]
    description = " ".join(escaped(line.split(":")[0] + ".") for line in verdict)
    return Page("ssb-6-results", f"{description} ({escaped(name)})", "\n\n".join(parts))


def finished(run: Run) -> Page | None:
    """The same of a finished run, with all charts."""
    return page(run.name, run.summary["benchmarks"], report.charts(run))
