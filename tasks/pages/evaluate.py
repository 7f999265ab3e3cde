"""Artifact page of evaluate: the verdict, the table and the charts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssb_core import report
from ssb_core.report import charts
from ssb_core.report.markdown import escaped, picture, table
from ssb_core.runs import Run

from ..artifacts import Page

MAIN = ("benchmark", "model", "accuracy", "95% interval", "vs base")
"""Columns of the results that a page has room for side by side; the others follow in a table of their own."""

PICTURES = ("rounds", "costs", "votes", "lengths")
"""The report's charts that are about results, beside that of accuracy."""


def page(benchmarks: dict[str, Any], pictures: Mapping[str, bytes]) -> Page | None:
    """The verdict in words, the table with intervals and the plot of what is evaluated so far."""
    figure = charts.accuracy(benchmarks)
    if not figure:
        return None
    verdict = report.verdict_in_words({"benchmarks": benchmarks}).splitlines()
    rows = report.results_table({"benchmarks": benchmarks})
    beside = [column for column in rows[0] if column not in MAIN]
    parts = ["# Results", *map(escaped, verdict), table(_cells(rows, MAIN)), picture("accuracy", charts.png(figure))]
    parts += ["## Beside accuracy", table(_cells(rows, (*MAIN[:2], *beside)))]
    parts += [picture(which, pictures[which]) for which in PICTURES if which in pictures]
    return Page("ssb-6-results", _in_short(rows), "\n\n".join(parts))


def _cells(rows: Sequence[Mapping[str, str]], columns: Iterable[str]) -> list[dict[str, str]]:
    return [{column: escaped(row[column]) for column in columns} for row in rows]


def _in_short(rows: Sequence[Mapping[str, str]]) -> str:
    """``math500: base 37.6%, ssb 55.4%; aime2024: ...``"""
    scores: dict[str, list[str]] = {}
    for row in rows:
        scores.setdefault(row["benchmark"], []).append(f"{row['model']} {row['accuracy']}")
    return "; ".join(f"{benchmark}: {', '.join(found)}" for benchmark, found in scores.items())


def finished(run: Run) -> Page | None:
    """The same of a finished run, with all charts."""
    return page(run.load_summary()["benchmarks"], report.draw_charts(run, PICTURES))
