"""Terminal output of the commands: the plan, checks and results as tables."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from ssb_core.progress import Progress

from . import bars

if TYPE_CHECKING:
    from ssb_core.doctor import Check
    from ssb_core.runs.plan import PlanRow

console = Console(markup=False, highlight=False)
stderr = Console(stderr=True)
OPTIONAL_COLUMNS = ("string match", "pass@k", "vs base", "truncated", "no answer", "seeds")
"""Columns of the results, in the order in which a narrow terminal leaves them out."""
COLOURS = {"cached": "green", "partial": "yellow", "missing": "cyan", "stale": "magenta", "waits": "dim"}
COLOURS |= {"forced": "magenta", "ok": "green", "warning": "yellow", "problem": "red"}
RARE_OUTCOMES = {"unparsed": "with too few answers", "unverified": "not judged", "too_long": "too long"}
"""Outcomes of problems that a healthy run does not have, in words."""
GAP = 3  # columns of the terminal between two columns of a table
CHECK_WIDTHS = (0, 7, 14)  # columns before the text of a check: indent, status, name


def progress(fallback: Progress) -> AbstractContextManager[Progress]:
    """Show bars if stderr is a terminal, and else use `fallback`."""
    return bars.progress(stderr, fallback)


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


def new_table() -> Table:
    """A table without columns, in the style that all tables share."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def text_widths(widths: Mapping[str, int], whole: Iterable[int]) -> dict[str, int]:
    """The widths of text columns beside columns of `whole` widths, which hold ids and numbers.

    In a narrow terminal the text columns, which are given with the widths that suit them, all become smaller.
    """
    taken = list(whole)
    room = console.width - sum(taken) - GAP * (len(taken) + len(widths))
    return {name: max(1, min(width, width * room // sum(widths.values()))) for name, width in widths.items()}


def fitting_table(rows: Sequence[Mapping[str, str]], optional: Sequence[str], left: Collection[str]) -> Table:
    """Rows of cells as a table. Columns in `left` are aligned there, and all others are numbers.

    A terminal that is too narrow leaves out the `optional` columns, one after the other.
    """
    columns = list(rows[0])
    unlimited = console.options.update(max_width=sys.maxsize)
    for name in optional:
        if Measurement.get(console, unlimited, _table_of(rows, columns, left)).maximum <= console.width:
            break
        columns = [column for column in columns if column != name]
    return _table_of(rows, columns, left)


def _table_of(rows: Sequence[Mapping[str, str]], columns: Sequence[str], left: Collection[str]) -> Table:
    table = new_table()
    for name in columns:
        table.add_column(name, justify="left" if name in left else "right", no_wrap=name not in left, overflow="fold")
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def results_table(rows: list[dict[str, str]]) -> Table:
    """The results table of the report. A narrow terminal leaves out columns that the text or the report has as well."""
    return fitting_table(rows, OPTIONAL_COLUMNS, ("benchmark", "model"))


def yield_line(counts: dict[str, Any]) -> str:
    """The yield of a run in one line; `counts` is ``yield`` of summary.json."""
    unverifiable = f"; {counts['bad_gold']:,} left out (unverifiable answer)" if counts["bad_gold"] else ""
    others = "".join(f", {counts[name]:,} {words}" for name, words in RARE_OUTCOMES.items() if counts[name])
    return (
        f"{counts['problems']:,} problems: {counts['mixed']:,} mixed, {counts['all_correct']:,} all correct, "
        f"{counts['all_wrong']:,} all wrong{others}; {counts['taught']:,} taught{unverifiable}"
    )
