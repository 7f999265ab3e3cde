"""What a person sees in the terminal: progress bars, the plan and the results as tables."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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

from ssb_core.doctor import Check
from ssb_core.progress import Progress
from ssb_core.runs.plan import PlanRow

console = Console(markup=False, highlight=False)
errors = Console(stderr=True)
SPARED = (
    "string match",
    "pass@k",
    "vs base",
    "truncated",
    "no answer",
    "seeds",
)  # left out in this order where room is short
COLOURS = {"cached": "green", "partial": "yellow", "missing": "cyan", "stale": "magenta", "waits": "dim"}
COLOURS |= {"ok": "green", "warning": "yellow", "problem": "red"}
GUTTERS = (0, 7, 14)  # columns of a check before what was found: indent, status, name


class RateColumn(ProgressColumn):
    """Units a second, over what this process did itself."""

    def render(self, task: Bar) -> Text:
        seconds, done = task.finished_time or task.elapsed, task.completed - task.fields["before"]
        return Text(f"{done / seconds:,.1f}/s" if seconds and done else "", style="dim")


class BarProgress(Progress):
    """One bar for every phase, with rate and time left; finished bars stay."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.bar = self.bars.add_task(label, total=total, completed=done, unit=unit, before=done)

    def advance(self, n: int = 1) -> None:
        self.bars.advance(self.bar, n)

    def note(self, text: str) -> None:
        self.bars.console.print(text, style="dim")


@contextmanager
def progress(elsewhere: Progress) -> Iterator[Progress]:
    """Bars on a terminal; where there is none, `elsewhere` listens."""
    if not sys.stderr.isatty():
        yield elsewhere
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
    with Bars(*columns, console=errors) as bars:
        yield BarProgress(bars)


def plan_table(rows: list[PlanRow]) -> Table:
    """The plan, one line per request."""
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("request", "status", "why"):
        table.add_column(heading)
    for row in rows:
        table.add_row(row.label, Text(row.status, style=COLOURS[row.status]), row.why)
    return table


def print_check(check: Check) -> None:
    """One thing that `ssb doctor` looked at; what to do stands on a line of its own, unbroken, to be pasted."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for width in (*GUTTERS, None):
        table.add_column(width=width, overflow="fold")
    table.add_row("", Text(check.status, style=COLOURS[check.status]), check.name, check.found)
    console.print(table)
    if check.remedy:
        console.print(
            Text(" " * (sum(GUTTERS) + 2 * len(GUTTERS)) + f"-> {check.remedy}", style="bold"), soft_wrap=True
        )


def results(rows: list[dict[str, str]]) -> Table:
    """The results table, as in the report; where the terminal is narrow, without what words or the report tell too."""
    shown = list(rows[0])
    unlimited = console.options.update(max_width=sys.maxsize)
    for name in SPARED:
        if Measurement.get(console, unlimited, _results(rows, shown)).maximum <= console.width:
            break
        shown = [column for column in shown if column != name]
    return _results(rows, shown)


def _results(rows: list[dict[str, str]], shown: list[str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in shown:
        table.add_column(name, justify="left" if name in ("benchmark", "model") else "right")
    for row in rows:
        table.add_row(*(row[name] for name in shown))
    return table


def yield_line(counts: dict[str, Any]) -> str:
    """The funnel in one line."""
    left_out = f"; {counts['bad_gold']:,} left out (bad gold)" if counts["bad_gold"] else ""
    return (
        f"{counts['problems']:,} problems: {counts['mixed']:,} mixed, {counts['all_correct']:,} all correct, "
        f"{counts['all_wrong']:,} all wrong; {counts['taught']:,} taught{left_out}"
    )
