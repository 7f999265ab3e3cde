"""Terminal output of the commands: progress bars, and the plan, checks and results as tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.table import Table
from rich.text import Text

from ssb_core.progress import Progress

if TYPE_CHECKING:
    from ssb_core.doctor import Check
    from ssb_core.runs.plan import PlanRow

console = Console(markup=False, highlight=False)
stderr = Console(stderr=True)
OPTIONAL_COLUMNS = ("string match", "pass@k", "vs base", "truncated", "no answer", "seeds")
"""Columns of the results, in the order in which a narrow terminal leaves them out."""
COLOURS = {
    "cached": "green",
    "partial": "yellow",
    "missing": "cyan",
    "stale": "magenta",
    "waits": "dim",
    "forced": "magenta",
}
COLOURS |= {"forced": "magenta", "ok": "green", "warning": "yellow", "problem": "red"}
CHECK_WIDTHS = (0, 7, 14)  # columns before the text of a check: indent, status, name


class RateColumn(ProgressColumn):
    """Units per second, of the work that this process did itself."""

    def render(self, task: Bar) -> Text:
        seconds, done = task.finished_time or task.elapsed, task.completed - task.fields["before"]
        return Text(f"{done / seconds:,.1f}/s" if seconds and done else "", style="dim")


class BarProgress(Progress):
    """Shows one bar for each phase, with rate and time left. Finished bars stay visible."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.bar = self.bars.add_task(label, total=total, completed=done, unit=unit, before=done)

    def advance(self, n: int = 1) -> None:
        self.bars.advance(self.bar, n)

    def note(self, text: str) -> None:
        self.bars.console.print(text, style="dim")


@contextmanager
def progress(fallback: Progress) -> Iterator[Progress]:
    """Show bars if stderr is a terminal, and else use `fallback`."""
    if not sys.stderr.isatty():
        yield fallback
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}"),
        RateColumn(),
        TimeElapsedColumn(),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=stderr) as bars:
        yield BarProgress(bars)


def print_plan(rows: Sequence[PlanRow]) -> None:
    """Print the plan: one line for each request, and its reason below it. Ids and numbers are never cut."""
    from ssb_core.results import plan_wording

    figures = [plan_wording.cells(row) for row in rows]
    names = [name for name in ("samples", "tokens", "time", "disk") if any(f[name] for f in figures)]
    widths = [max(len(name), *(len(f[name]) for f in figures)) for name in names]
    room = console.width - sum(width + 2 for width in (7, *widths))  # for labels
    label = min(max(len(row.label) for row in rows), max(room, len("request")))
    heading = [f"{name:>{width}}" for name, width in zip(names, widths, strict=True)]
    console.print(Text("  ".join((f"{'request':{label}}", f"{'status':7}", *heading)), style="bold"), soft_wrap=True)
    for row, figure in zip(rows, figures, strict=True):
        first = row.label if len(row.label) <= label else ""
        if not first:  # the figures are on the next line
            console.print(Text(row.label), soft_wrap=True)
        line = Text(f"{first:{label}}  ").append(f"{row.status:7}", style=COLOURS[row.status])
        line.append("".join(f"  {figure[name]:>{width}}" for name, width in zip(names, widths, strict=True)))
        line.rstrip()
        console.print(line, soft_wrap=True)
        for part in wrap(row.why, console.width - 4, break_long_words=False, break_on_hyphens=False):
            console.print(Text(f"    {part}", style="dim"), soft_wrap=True)
    console.print()
    legend = [f"In the table, {plan_wording.LEGEND}."] if names else []
    for sentence in (*plan_wording.summary(rows), *legend):
        for part in wrap(sentence, console.width):
            console.print(part, soft_wrap=True)


def print_check(check: Check) -> None:
    """Print one check of `ssb doctor`. The remedy is one unbroken line, so that it can be copied."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in (*CHECK_WIDTHS, None):
        table.add_column(width=width, overflow="fold")
    table.add_row("", Text(check.status, style=COLOURS[check.status]), check.name, check.message)
    console.print(table)
    if check.remedy:
        indent = " " * (sum(CHECK_WIDTHS) + 2 * len(CHECK_WIDTHS))
        console.print(Text(f"{indent}-> {check.remedy}", style="bold"), soft_wrap=True)


def results_table(rows: list[dict[str, str]]) -> Table:
    """The results table of the report. A narrow terminal leaves out columns that the text or the report has as well."""
    columns = list(rows[0])
    unlimited = console.options.update(max_width=sys.maxsize)
    for name in OPTIONAL_COLUMNS:
        if Measurement.get(console, unlimited, _results_table(rows, columns)).maximum <= console.width:
            break
        columns = [column for column in columns if column != name]
    return _results_table(rows, columns)


def _results_table(rows: list[dict[str, str]], columns: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        table.add_column(name, justify="left" if name in ("benchmark", "model") else "right")
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def yield_line(counts: dict[str, Any]) -> str:
    """The yield of a run in one line; `counts` is ``yield`` of summary.json."""
    unverifiable = f"; {counts['bad_gold']:,} left out (unverifiable answer)" if counts["bad_gold"] else ""
    return (
        f"{counts['problems']:,} problems: {counts['mixed']:,} mixed, {counts['all_correct']:,} all correct, "
        f"{counts['all_wrong']:,} all wrong; {counts['taught']:,} taught{unverifiable}"
    )
