"""The progress of long work. A stage calls `begin`, `advance` and `note` of a listener, whatever the listener does."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, Any


class Progress:
    """Ignores everything. It is the base of every listener."""

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        """A phase of `total` units begins; `done` of them were finished before."""

    def advance(self, n: int = 1) -> None:
        """`n` more units are finished."""

    def end(self) -> None:
        """The phase is over."""

    def note(self, text: str) -> None:
        """Something worth a line happened."""

    def wait(self, text: str) -> None:
        """Nothing happens for now; `text` says why. It is called again and again while that lasts."""
        self.note(text)

    def estimate(self, seconds: float) -> None:
        """The whole run takes about so many more seconds. It is called often, and not before there is an estimate."""


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass
class PlainProgress(Progress):
    """Passes a line to `write` every `every` seconds and at the end of a phase: for logs, pipes and notebooks."""

    write: Callable[[str], None] = _print
    every: float = 10.0
    seconds: float | None = None  # that the whole run takes, as it was last estimated

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.label, self.total, self.unit, self.before, self.done = label, total, unit, done, done
        self.started = self.written = time.monotonic()

    def advance(self, n: int = 1) -> None:
        self.done += n
        if time.monotonic() - self.written >= self.every:
            line = rate_and_eta(self.done - self.before, self.total - self.done, self._elapsed(), self.unit)
            self._write(line if self.seconds is None else f"{line}; the run takes about {roughly(self.seconds)} more")

    def estimate(self, seconds: float) -> None:
        self.seconds = seconds

    def end(self) -> None:
        if self.done > self.before:
            self._write(f"done in {self._elapsed():.1f} s")

    def note(self, text: str) -> None:
        self.write(text)

    def _elapsed(self) -> float:
        return max(time.monotonic() - self.started, 1e-9)

    def _write(self, rest: str) -> None:
        self.written = time.monotonic()
        self.write(f"{self.label}: {self.done}/{self.total} {self.unit}, {rest}")


@dataclass
class CallbackProgress(Progress):
    """Calls ``callback(label, done, total, unit)`` whenever a unit is finished: for a bar of your own."""

    callback: Callable[[str, int, int, str], object]

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, done
        self.advance(0)

    def advance(self, n: int = 1) -> None:
        self.done += n
        self.callback(self.label, self.done, self.total, self.unit)


@dataclass
class JsonProgress(Progress):
    """Writes a line of JSON for every call, for `replay` in another process."""

    stream: IO[str]

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        send(self.stream, "begin", label=label, total=total, unit=unit, done=done)

    def advance(self, n: int = 1) -> None:
        send(self.stream, "advance", n=n)

    def end(self) -> None:
        send(self.stream, "end")

    def note(self, text: str) -> None:
        send(self.stream, "note", text=text)

    def wait(self, text: str) -> None:
        send(self.stream, "wait", text=text)


def send(stream: IO[str], event: str, **fields: Any) -> None:
    """Write one event as a line of JSON: its name under ``event``, and its fields."""
    stream.write(json.dumps({"event": event, **fields}) + "\n")
    stream.flush()


def replay(event: Mapping[str, Any], progress: Progress) -> None:
    """Make the call that `JsonProgress` wrote down.

    Raises:
        ValueError: it is not an event of progress.
    """
    match event:
        case {"event": "begin", "label": str(label), "total": int(total), "unit": str(unit), "done": int(done)}:
            progress.begin(label, total, unit, done)
        case {"event": "advance", "n": int(n)}:
            progress.advance(n)
        case {"event": "end"}:
            progress.end()
        case {"event": "note", "text": str(text)}:
            progress.note(text)
        case {"event": "wait", "text": str(text)}:
            progress.wait(text)
        case _:
            raise ValueError(f"not an event of progress: {event!r:.200}")


def rate_and_eta(done: int, left: int, seconds: float, unit: str) -> str:
    """For example ``12.5 samples/s, 0:01:20 left``."""
    rate = done / seconds
    return f"{rate:.1f} {unit}/s, {clock(left / rate)} left" if rate else "waiting"


def clock(seconds: float) -> str:
    """For example ``0:01:20``."""
    return str(timedelta(seconds=round(seconds)))


def roughly(seconds: float) -> str:
    """A time without false precision: ``40 s``, ``12 min``, ``3 h 20 min``."""
    if seconds < 90:
        return f"{max(10, round(seconds, -1)):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, rest = divmod(round(minutes, -1), 60)
    return f"{hours} h {rest} min" if hours < 10 and rest else f"{round(minutes / 60)} h"
