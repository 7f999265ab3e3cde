"""Progress in a terminal: a bar for the phase at work, a line for each finished one, and the estimate for the run."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, ProgressColumn, TextColumn
from rich.progress import Progress as Bars
from rich.progress import Task as Bar
from rich.text import Text

from ssb_core.progress import Progress, clock, roughly

LABEL_WIDTH = 27  # "evaluate base on nano-test " fits
"""Finished phases are lines of their own, so only a fixed width puts their numbers below each other."""


def rate(done: float, seconds: float) -> str:
    """``8.5/s``, or nothing as long as nothing is done."""
    per_second = done / seconds if seconds else 0.0
    return f"{per_second:,.{0 if per_second >= 100 else 1}f}/s" if done else ""


class RateColumn(ProgressColumn):
    """Units per second, of the work that this process did itself."""

    def render(self, task: Bar) -> Text:
        return Text(rate(task.completed - task.fields["before"], task.elapsed or 0.0), style="dim")


class LeftColumn(ProgressColumn):
    """The time that the phase still takes, by its mean rate so far."""

    def render(self, task: Bar) -> Text:
        done, elapsed = task.completed - task.fields["before"], task.elapsed
        if not done or not elapsed or task.total is None:
            return Text("")
        return Text(f"{clock((task.total - task.completed) * elapsed / done)} left", style="cyan")


COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(bar_width=None),
    MofNCompleteColumn(),
    TextColumn("{task.fields[unit]}"),
    RateColumn(),
    LeftColumn(),
)


class PhaseBars(Bars):
    """Bars with a line below them that says how long the whole run takes."""

    estimate = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        if self.estimate:
            yield Text(self.estimate, style="dim")


class BarProgress(Progress):
    """Shows a bar for the phase at work, with rate and time left. A finished phase becomes a line above it."""

    def __init__(self, bars: PhaseBars) -> None:
        self.bars = bars
        self.bar: Bar | None = None

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self._remove()
        number = self.bars.add_task(f"{label:<{LABEL_WIDTH}}", total=total, completed=done, unit=unit, before=done)
        self.bar = next(task for task in self.bars.tasks if task.id == number)

    def advance(self, n: int = 1) -> None:
        if self.bar:
            self.bars.advance(self.bar.id, n)

    def end(self) -> None:
        if not (bar := self.bar):
            return
        done, elapsed = bar.completed - bar.fields["before"], bar.elapsed or 0.0
        self._remove()
        if done:
            amount = f"{bar.completed:>7,.0f} {bar.fields['unit']}"
            line = f"{bar.description} {amount:<18} in {clock(elapsed)}  {rate(done, elapsed)}"
            self.bars.console.print(Text(line.rstrip()), soft_wrap=True)

    def note(self, text: str) -> None:
        self.bars.console.print(Text(text, style="dim"), soft_wrap=True)

    def estimate(self, seconds: float) -> None:
        self.bars.estimate = f"the run takes about {roughly(seconds)} more"

    def _remove(self) -> None:
        if self.bar:
            self.bars.remove_task(self.bar.id)
        self.bar = None


@contextmanager
def progress(console: Console, fallback: Progress) -> Iterator[Progress]:
    """Show bars if `console`, which writes to stderr, is a terminal; else use `fallback`."""
    if not sys.stderr.isatty():
        yield fallback
        return
    with PhaseBars(*COLUMNS, console=console, expand=True) as bars:
        try:
            yield BarProgress(bars)
        finally:
            bars.estimate = ""  # what is left on the screen is no estimate any more
