"""A long stage's progress as the Prefect UI shows it: a progress artifact of its task run, with rate and time left."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from prefect.artifacts import create_progress_artifact, update_progress_artifact

from ssb_core.progress import Progress, rate_and_eta

log = logging.getLogger(__name__)

EVERY = 10.0  # seconds between updates; a stage that is over before has no artifact
PATIENCE = 5.0  # seconds that the end of a stage waits for the last update


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a stage, as far as it has come; `began` is a monotonic time in seconds."""

    label: str
    total: int
    unit: str
    before: int
    done: int
    began: float

    @property
    def percent(self) -> float:
        return 100 * self.done / self.total if self.total else 100.0

    def __str__(self) -> str:
        elapsed = max(time.monotonic() - self.began, 1e-9)
        rest = rate_and_eta(self.done - self.before, self.total - self.done, elapsed, self.unit)
        return f"{self.label}: {self.done:,} of {self.total:,} {self.unit}, {rest}"


class Shown(Progress):
    """Tells a listener everything at once, and the Prefect API every `EVERY` seconds from a thread of its own.

    So neither a slow API nor none at all keeps the stage from its work.
    """

    def __init__(self, name: str, listener: Progress) -> None:
        """`name` is the stage's; the artifact belongs to the task run in whose context this is made."""
        self.name = name
        self.listener = listener
        self.phase: Phase | None = None
        self.told: Phase | None = None
        self.artifact: UUID | None = None
        self.over = threading.Event()
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=context.run, args=(self._tell,), name="progress", daemon=True)

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.phase = Phase(label, total, unit, done, done, time.monotonic())
        self.listener.begin(label, total, unit, done)

    def advance(self, n: int = 1) -> None:
        p = self.phase
        if p:
            self.phase = Phase(p.label, p.total, p.unit, p.before, p.done + n, p.began)
        self.listener.advance(n)

    def end(self) -> None:
        self.listener.end()

    def note(self, text: str) -> None:
        self.listener.note(text)

    def _tell(self) -> None:
        while not self.over.wait(EVERY):
            self._publish()
        if self.artifact:
            self._publish()

    def _publish(self) -> None:
        phase = self.phase
        if phase is None or phase == self.told:
            return
        told: dict[str, Any] = {"progress": phase.percent, "description": str(phase)}
        try:
            if self.artifact:
                update_progress_artifact(self.artifact, **told)
            else:
                made = create_progress_artifact(key=f"ssb-progress-{self.name}", **told)
                assert isinstance(made, UUID)
                self.artifact = made
        except Exception as e:  # whatever the API does, the work goes on
            log.debug("progress is not shown: %s", e)
        else:
            self.told = phase


@contextmanager
def shown(name: str, listener: Progress) -> Iterator[Progress]:
    """Progress of a stage that is shown until the block ends."""
    progress = Shown(name, listener)
    progress.thread.start()
    try:
        yield progress
    finally:
        progress.over.set()
        progress.thread.join(PATIENCE)
