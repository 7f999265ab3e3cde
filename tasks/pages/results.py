"""The artifact page ``ssb-6-results``: the verdict, the table and the charts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssb_core import report
from ssb_core.report import charts
from ssb_core.report.markdown import escaped, picture, table
from ssb_core.runs import Run

from ..artifacts import Page

MAIN_COLUMNS = ("benchmark", "model", "accuracy", "95% interval", "vs base")
"""The columns of the results that fit the width of a page. The other columns follow in a second table."""

CHARTS = ("rounds", "costs", "votes", "lengths")
"""The charts of the report that show results, besides that of accuracy."""


def page(benchmarks: dict[str, Any], drawn: Mapping[str, charts.Chart]) -> Page | None:
    """The results so far: verdict, table with intervals, and charts. None if nothing is evaluated yet.

    Args:
        benchmarks: The part ``benchmarks`` of summary.json.
        drawn: The charts of `CHARTS` by name; a missing one is left out.
    """
    accuracy = charts.draw_accuracy(benchmarks)
    if not accuracy:
        return None
    verdict = report.verdict_in_words({"benchmarks": benchmarks}).splitlines()
    rows = report.results_table({"benchmarks": benchmarks})
    other_columns = [column for column in rows[0] if column not in MAIN_COLUMNS]
    parts = ["# Results", *map(escaped, verdict), table(_cells(rows, MAIN_COLUMNS))]
    parts += [picture("accuracy", charts.png(accuracy)), "## Beside accuracy"]
    parts += [table(_cells(rows, (*MAIN_COLUMNS[:2], *other_columns)))]
    parts += [picture(name, charts.png(drawn[name])) for name in CHARTS if name in drawn]
    return Page("ssb-6-results", _description(rows), "\n\n".join(parts))


def final_page(run: Run) -> Page | None:
    """The results of a finished run, with all charts."""
    return page(run.load_summary()["benchmarks"], report.draw_charts(run, CHARTS))


def _cells(rows: Sequence[Mapping[str, str]], columns: Iterable[str]) -> list[dict[str, str]]:
    return [{column: escaped(row[column]) for column in columns} for row in rows]


def _description(rows: Sequence[Mapping[str, str]]) -> str:
    """``math500: base 37.6%, ssb 55.4%; aime2024: ...``"""
    scores: dict[str, list[str]] = {}
    for row in rows:
        scores.setdefault(row["benchmark"], []).append(f"{row['model']} {row['accuracy']}")
    return "; ".join(f"{benchmark}: {', '.join(models)}" for benchmark, models in scores.items())
