"""``ssb runs``: a table of all runs, with their results and what differs between their configurations."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import clean_errors
from .options import RunsOption, StoreOption, open_store

if TYPE_CHECKING:
    from rich.table import Table

    from ssb_core.results.run_list import ListedRun

TIMES = ("traces", "took", "finished")
"""Columns behind the fields in which runs differ."""
WIDEST = 24  # columns of the value of a field


class OrderName(StrEnum):
    """The order of runs."""

    accuracy = "accuracy"
    time = "time"
    name = "name"


def runs(
    sort: Annotated[
        OrderName,
        typer.Option(help="Put the most accurate student first, the latest run, or the first name in the alphabet."),
    ] = OrderName.time,
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """List all runs with their accuracy, and the settings in which they differ.

    A cell such as "60.4 → 98.2" has the accuracy of the base and of the student
    in percent. Fields of execution are not compared, because they change no
    result. The state of a run is shown if it is not finished. A narrow terminal
    leaves out columns, and says which.

    Examples:

      ssb runs --sort accuracy
      ssb runs --json
    """
    with clean_errors("interrupted"):
        from ssb_core.results import run_list

        from .console import console

        listed = run_list.list_runs(runs, open_store(store), sort.value)
        if as_json:
            print(json.dumps(run_list.as_json(listed), indent=1, allow_nan=False))
            return
        if not listed:
            console.print(f"no runs in {runs} yet; start one with: ssb run --preset quickstart")
            return
        table, left_out = fitting_table(listed)
        console.print(table)
        if left_out:
            console.print(f"left out, for lack of width: {', '.join(left_out)} (--json has all)")


def fitting_table(listed: Sequence[ListedRun]) -> tuple[Table, list[str]]:
    """The table of runs in the width of the terminal, and the names of the columns that do not fit."""
    import sys

    from rich.measure import Measurement

    from .console import console

    rows = _rows(listed)
    fields = {name for run in listed for name in run.fields}
    unlimited = console.options.update(max_width=sys.maxsize)
    shown = [name for name in rows[0] if name not in fields and name not in TIMES]
    left_out: list[str] = []
    for name in rows[0]:  # in this order, each column that still has room
        if name not in shown:
            wider = [n for n in rows[0] if n in shown or n == name]
            fits = Measurement.get(console, unlimited, _table(rows, wider)).maximum <= console.width
            shown, left_out = (wider, left_out) if fits else (shown, [*left_out, name])
    return _table(rows, shown), left_out


def _rows(listed: Sequence[ListedRun]) -> list[dict[str, str]]:
    """A row of cells for each run, by column."""
    from ssb_core.results.run_list import benchmark_names, differing
    from ssb_core.results.wording import duration

    fields, benchmarks = differing(listed), benchmark_names(listed)
    states = any(run.state != "finished" for run in listed)
    rows = [
        {
            "run": run.name,
            **({"state": "" if run.state == "finished" else run.state} if states else {}),
            **{name: _accuracy(run, name) for name in benchmarks},
            **{name: _value(run, name) for name in fields},
            "traces": "" if run.traces is None else f"{run.traces:,}",
            "took": "" if run.seconds is None else duration(run.seconds),
            "finished": time.strftime("%Y-%m-%d %H:%M", time.localtime(run.when)) if run.seconds is not None else "",
        }
        for run in listed
    ]
    return rows


def _accuracy(run: ListedRun, benchmark: str) -> str:
    """``60.4 → 98.2``: base and student; ``base 60.4`` if only one model was evaluated."""
    from ssb_core.results.wording import percent

    models = run.accuracy.get(benchmark, {})
    if "base" in models and "ssb" in models:
        return f"{percent(models['base'])} → {percent(models['ssb'])}"
    return next((f"{name} {percent(score)}" for name, score in models.items()), "")


def _value(run: ListedRun, name: str) -> str:
    """The value of a field, cut if it is long: its end tells paths apart."""
    if name not in run.fields:
        return ""
    value = run.fields[name]
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= WIDEST else f"…{text[1 - WIDEST :]}"


def _table(rows: Sequence[dict[str, str]], names: Sequence[str]) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        right = all(row[name].split(" ")[-1][:1] in "0123456789" for row in rows)
        table.add_column(name.replace(".", ".\n"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(row[name], style="yellow" if name == "state" else "") for name in names))
    return table
