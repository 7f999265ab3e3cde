"""What a terminal of 80 columns shows: tables with whole ids and numbers, and progress."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from flows.cli import bars, compare, console, store
from flows.cli.bars import BarProgress, PhaseBars
from ssb_core.runs.garbage import Garbage
from ssb_core.runs.status import RunStatus, StageStatus


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What is printed to a terminal of 80 columns."""
    output = io.StringIO()
    monkeypatch.setattr(console, "console", Console(width=80, file=output, markup=False, highlight=False))
    return output


def test_status_and_gc_keep_names_and_numbers_whole_and_wrap_text(narrow: io.StringIO) -> None:
    name, recipe, text = "a-long-name-of-a-run-1a2b3c", "0123456789abcdef", "nano-test: base 61.4%, ssb 98.2%; " * 3
    console.console.print(store._run_table([RunStatus(name, "finished", 0.0, text)]))
    console.console.print(store._stage_table([StageStatus("ssb-no-wrong", 12, 345, 67890, 1234567, 10**12, text)]))
    console.console.print(store._garbage_table([Garbage("ssb-no-wrong", recipe, ("x",) * 12345, 10**12, 12345)]))
    printed = narrow.getvalue()
    assert max(map(len, printed.splitlines())) <= 80 and "…" not in printed
    for whole in (name, recipe, "ssb-no-wrong", "1,234,567", "67,890", "1 TB"):
        assert whole in printed


def test_text_gives_way_to_ids(narrow: io.StringIO) -> None:
    widths = console.text_widths(compare.WIDTHS, [39])
    assert sum(widths.values()) + 39 + console.GAP * 4 <= 80
    assert console.text_widths(compare.WIDTHS, [10]) == compare.WIDTHS


def test_a_table_of_numbers_leaves_out_columns_rather_than_digits(narrow: io.StringIO) -> None:
    row = {
        "": "first",
        "accuracy": "100.0%",
        "95% interval": "50.4 to 75.8",
        "second minus first": "+13.1 (-8.0 to +4.3)",
    }
    row |= {"p-value": "1.000", "better": "1,000", "worse": "1,000", "alike": "1,000"}
    console.console.print(console.fitting_table([row], compare.OPTIONAL, [""]))
    printed = narrow.getvalue()
    assert "…" not in printed and "+13.1 (-8.0 to +4.3)" in printed and "alike" not in printed


def test_a_finished_phase_becomes_a_line_and_the_run_has_an_estimate() -> None:
    output = io.StringIO()
    screen = Console(width=80, file=output, force_terminal=True, color_system=None)
    with PhaseBars(*bars.COLUMNS, console=screen, auto_refresh=False, expand=True) as shown:
        progress = BarProgress(shown)
        for label in ("rollouts wave 2", "evaluate ssb-no-wrong on math500 (seed 2)"):
            progress.begin(label, 1280, "samples", 640)
            progress.advance(640)
            progress.estimate(754.0)
            shown.refresh()
            progress.end()
        progress.begin("distill", 10, "steps", 10)
        progress.end()
    printed = output.getvalue()
    assert "1280/1280 samples" in printed and "the run takes about 13 min more" in printed
    lines = [line for line in printed.splitlines() if " in 0:00:00" in line]
    assert len(lines) == 2 and "rollouts wave 2" in lines[0] and "(seed 2)" in lines[1]
    assert len(shown.tasks) == 0
