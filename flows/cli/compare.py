"""``ssb compare``: the paired table, what else differs, and the problems that flipped."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import clean_errors
from .options import RunsOption, StoreOption, open_store

if TYPE_CHECKING:
    from rich.table import Table

    from ssb_core.results.compare import BenchmarkComparison, Comparison, Flip, ProblemSamples

LABEL_WIDTH = 8
WIDTHS = {"reference": 14, "first": 21, "second": 21}
OPTIONAL = ("alike", "95% interval", "p-value")
"""Columns that a narrow terminal leaves out: they follow from the others, or are in the sentences below the table."""


def compare(
    first: Annotated[
        str, typer.Argument(metavar="FIRST", help="The side to compare with: RUN, RUN:MODEL, or 'latest'.")
    ],
    second: Annotated[str, typer.Argument(metavar="SECOND", help="The side to compare: RUN, RUN:MODEL, or 'latest'.")],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", metavar="MODEL", help="Model of a run that names none. By default: ssb, else base."
        ),
    ] = None,
    top: Annotated[
        int, typer.Option(min=0, metavar="N", help="List N flipped problems of each kind. The page has all of them.")
    ] = 10,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the HTML page here. By default: beside the report of SECOND."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print all figures as JSON. The page is then written only with --out.")
    ] = False,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Compare two evaluated models problem by problem: whether they really differ, and where.

    Problems are matched by id and content. A difference above 0 means that
    SECOND is better. The command also says what else differs between the two
    runs, and writes a page with both texts of every problem that flipped.

    Example: what did training change?

      ssb compare latest:base latest:ssb
    """
    with clean_errors("interrupted; no page is written"):
        from ssb_core.results import compare as comparisons

        opened = open_store(store)
        sides = [comparisons.load_side(runs, text, model, opened) for text in (first, second)]
        print_comparison(comparisons.compare(*sides), top, as_json, out)


def print_comparison(comparison: Comparison, top: int, as_json: bool, out: Path | None) -> None:
    """Print a comparison and write its page. With `as_json` the page is written only to `out`, if that is given.

    Raises:
        ConfigError: `out` is a directory.
    """
    from ssb_core.errors import ConfigError
    from ssb_core.report import compare_html
    from ssb_core.results.compare import figures

    from .console import console

    if out and out.is_dir():
        raise ConfigError(f"--out {out} is a directory; give the name of an HTML file")
    if as_json:
        print(json.dumps(figures(comparison), indent=1, allow_nan=False))
    else:
        for part in _parts(comparison, top):
            console.print(part)
    path = out or (None if as_json else compare_html.default_path(comparison))
    if path:
        compare_html.write(comparison, path)
    if path and not as_json:
        console.print(f"\npage     {path}   every flipped problem, both texts side by side", soft_wrap=True)


def _parts(comparison: Comparison, top: int) -> Iterator[Table | str]:
    """The two sides, then each benchmark with up to `top` flipped problems of each kind."""
    from rich.table import Table

    from ssb_core.report.verdict import comparison_in_words

    sides = Table.grid(padding=(0, 2, 0, 0))
    sides.add_column(width=LABEL_WIDTH - 1)
    for name, side in (("first", comparison.first), ("second", comparison.second)):
        sides.add_row(name, side.label, side.describe())
    yield sides
    yield from _notes(comparison.notes)
    for compared in comparison.benchmarks:
        yield f"\n{compared.benchmark}{' (partial)' if compared.partial else ''}"
        yield _paired_table(comparison, compared)
        yield comparison_in_words(compared, comparison.first, comparison.second)
        yield from _notes(compared.notes)
        for title, flips in (("Worse", compared.worsened), ("Better", compared.improved)):
            if flips and top:
                listed = _how_many(top, flips)
                yield f"\n{title} in {comparison.second.label}: {listed}, each with its most common answer"
                yield _flips_table(flips[:top])


def _notes(notes: Sequence[str]) -> Iterator[str]:
    yield from (f"note: {note}" for note in notes)


def _paired_table(comparison: Comparison, compared: BenchmarkComparison) -> Table:
    from ssb_core.report.tables import comparison_table

    from .console import fitting_table

    rows = comparison_table(compared, comparison.first, comparison.second)
    sides = zip(("first", "second"), rows, strict=True)
    return fitting_table(
        [{"": name} | {k: v for k, v in row.items() if k != "model"} for name, row in sides], OPTIONAL, [""]
    )


def _how_many(top: int, flips: Sequence[Flip]) -> str:
    from ssb_core.results.wording import count

    if len(flips) <= top:
        return count(len(flips), "problem")
    return f"{top:,} of {len(flips):,} problems (--top {len(flips)} lists all)"


def _flips_table(flips: Sequence[Flip]) -> Table:
    from .console import new_table, text_widths

    table, ids = new_table(), [_plain(f.first.problem.id) for f in flips]
    table.add_column("problem", no_wrap=True)
    for heading, width in text_widths(WIDTHS, [max(map(len, ids))]).items():
        table.add_column(heading, max_width=width, no_wrap=True)
    for name, f in zip(ids, flips, strict=True):
        table.add_row(name, _plain(f.first.problem.answer), _outcome(f.first), _outcome(f.second))
    return table


def _outcome(answered: ProblemSamples) -> str:
    """``3/4  17``: correct samples and the most common answer; or ``right  17`` for a single sample."""
    n = len(answered.samples)
    verdict = f"{answered.correct}/{n}" if n > 1 else "right" if answered.correct else "wrong"
    return f"{verdict}  {'no answer' if answered.answer is None else _plain(answered.answer)}"


def _plain(text: str) -> str:
    """The text in one line, escaped as Python does, so that it cannot control the terminal."""
    return repr(text)[1:-1].replace("\\\\", "\\")
