"""How a long stage tells where it is. A stage calls `begin`, `advance` and `note`; who listens is not its business."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta


class Progress:
    """Listens to nothing; the base of every listener."""

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        """A new phase of `total` units, of which `done` were finished before."""

    def advance(self, n: int = 1) -> None:
        """`n` more units are finished."""

    def end(self) -> None:
        """The phase is over."""

    def note(self, text: str) -> None:
        """Something worth a line happened."""

    def wait(self, text: str) -> None:
        """Nothing happens for now, and why; told again and again while that lasts."""
        self.note(text)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass
class PlainProgress(Progress):
    """A line every `every` seconds and at the end of a phase, to be told by `tell`: for logs and pipes."""

    tell: Callable[[str], None] = _print
    every: float = 10.0

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.label, self.total, self.unit, self.before, self.done = label, total, unit, done, done
        self.started = self.told = time.monotonic()

    def advance(self, n: int = 1) -> None:
        self.done += n
        if time.monotonic() - self.told >= self.every:
            self._tell(f"{rate_and_eta(self.done - self.before, self.total - self.done, self._elapsed(), self.unit)}")

    def end(self) -> None:
        if self.done > self.before:
            self._tell(f"done in {self._elapsed():.1f} s")

    def note(self, text: str) -> None:
        self.tell(text)

    def _elapsed(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    def _tell(self, rest: str) -> None:
        self.told = time.monotonic()
        self.tell(f"{self.label}: {self.done}/{self.total} {self.unit}, {rest}")


def rate_and_eta(done: int, left: int, seconds: float, unit: str) -> str:
    """For example ``12.5 samples/s, 0:01:20 left``."""
    rate = done / seconds
    return f"{rate:.1f} {unit}/s, {timedelta(seconds=round(left / rate))} left" if rate else "waiting"
