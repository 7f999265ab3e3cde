"""Listeners of progress that remember the calls."""

from __future__ import annotations

from typing import Any

from ssb_core.progress import Progress


class Recorded(Progress):
    """Remembers every call as a tuple of its name and its arguments, `wait` as such."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    @property
    def notes(self) -> list[str]:
        return [call[1] for call in self.calls if call[0] == "note"]

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.calls.append(("begin", label, total, unit, done))

    def advance(self, n: int = 1) -> None:
        self.calls.append(("advance", n))

    def end(self) -> None:
        self.calls.append(("end",))

    def note(self, text: str) -> None:
        self.calls.append(("note", text))

    def wait(self, text: str) -> None:
        self.calls.append(("wait", text))

    def estimate(self, seconds: float) -> None:
        self.calls.append(("estimate", seconds))
