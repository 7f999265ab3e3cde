"""A listener that notes in a run's folder how far the work is, for ``ssb status`` in another terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from ..progress import Progress
from .entries import Phase


@dataclass
class NotedProgress(Progress):
    """Passes every call to `listener`, and a phase to `note_phase` at its begin, its end and every few seconds."""

    listener: Progress
    note_phase: Callable[[Phase], None]
    every: float = 5.0
    phase: Phase | None = None

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.listener.begin(label, total, unit, done)
        self.phase, self.started = Phase(label, unit, total, done, done, 0.0, 0.0), time.monotonic()
        self._note()

    def advance(self, n: int = 1) -> None:
        self.listener.advance(n)
        if self.phase:
            self.phase = replace(self.phase, done=self.phase.done + n)
            if time.monotonic() - self.noted >= self.every:
                self._note()

    def end(self) -> None:
        self.listener.end()
        self._note()

    def note(self, text: str) -> None:
        self.listener.note(text)

    def wait(self, text: str) -> None:
        self.listener.wait(text)

    def estimate(self, seconds: float) -> None:
        self.listener.estimate(seconds)

    def _note(self) -> None:
        if self.phase:
            self.noted = time.monotonic()
            self.note_phase(replace(self.phase, seconds=self.noted - self.started, at=time.time()))
