"""What ``ssb compare`` shows: the paired table, what else differs, and the problems that flipped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from rich import box
from rich.table import Table

from ssb_core.errors import ConfigError
from ssb_core.report import compare_html
from ssb_core.report.tables import comparison_table
from ssb_core.report.verdict import comparison_in_words
from ssb_core.results.compare import BenchmarkComparison, Comparison, Flip, ProblemSamples, figures

from . import console

LABEL = 8
WIDTHS = {"problem": 24, "reference": 14, "first": 21, "second": 21}  # fit 100 columns


def run(comparison: Comparison, top: int, as_json: bool, out: Path | None) -> None:
    """Print the comparison and write its page; as JSON, the page is written only where `out` says so.

    Raises:
        ConfigError: `out` is a directory.
    """
    if out and out.is_dir():
        raise ConfigError(f"--out {out} is a directory; give the name of an HTML file")
    if as_json:
        print(json.dumps(figures(comparison), indent=1, allow_nan=False))
    else:
        for part in told(comparison, top):
            console.console.print(part)
    path = out or (None if as_json else compare_html.default_path(comparison))
    if path:
        compare_html.write(comparison, path)
    if path and not as_json:
        console.console.print(f"\npage     {path}   every flipped problem, both texts side by side", soft_wrap=True)


def told(comparison: Comparison, top: int) -> Iterator[Table | str]:
    """The sides, then each benchmark with up to `top` flipped problems of each kind."""
    sides = Table.grid(padding=(0, 2, 0, 0))
    sides.add_column(width=LABEL - 1)
    for name, side in (("first", comparison.first), ("second", comparison.second)):
        sides.add_row(name, side.label, side.describe())
    yield sides
    yield from _notes(comparison.notes)
    for compared in comparison.benchmarks:
        yield f"\n{compared.benchmark}{' (partial)' if compared.partial else ''}"
        yield _paired(comparison, compared)
        yield comparison_in_words(compared, comparison.first, comparison.second)
        yield from _notes(compared.notes)
        for title, flips in (("Better", compared.improved), ("Worse", compared.worsened)):
            if flips and top:
                yield f"\n{title} in {comparison.second.label}: {_of(top, flips)}, each with its most common answer"
                yield _flips(flips[:top])


def _notes(notes: Sequence[str]) -> Iterator[str]:
    yield from (f"note: {note}" for note in notes)


def _paired(comparison: Comparison, compared: BenchmarkComparison) -> Table:
    rows = comparison_table(compared, comparison.first, comparison.second)
    table = Table(box=box.SIMPLE_HEAD)
    for name in rows[0]:
        side = name == "model"
        table.add_column("" if side else name, justify="left" if side else "right", no_wrap=True)
    for name, row in zip(("first", "second"), rows, strict=True):
        table.add_row(*(row | {"model": name}).values())
    return table


def _of(top: int, flips: Sequence[Flip]) -> str:
    if len(flips) <= top:
        return f"{len(flips):,} {'problem' if len(flips) == 1 else 'problems'}"
    return f"{top:,} of {len(flips):,} problems (--top {len(flips)} lists all)"


def _flips(flips: Sequence[Flip]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for heading, width in WIDTHS.items():
        overflow: Literal["ellipsis"] = "ellipsis"
        table.add_column(heading, max_width=width, no_wrap=True, overflow=overflow)
    for f in flips:
        problem = f.first.problem
        table.add_row(_plain(problem.id), _plain(problem.answer), _answered(f.first), _answered(f.second))
    return table


def _answered(answered: ProblemSamples) -> str:
    """How many samples are right and the most common answer, or of one sample whether it is right and its answer."""
    n = len(answered.samples)
    verdict = f"{answered.correct}/{n}" if n > 1 else "right" if answered.correct else "wrong"
    return f"{verdict}  {'no answer' if answered.answer is None else _plain(answered.answer)}"


def _plain(text: str) -> str:
    """In one line as Python writes it: nothing in it steers a terminal."""
    return repr(text)[1:-1].replace("\\\\", "\\")
