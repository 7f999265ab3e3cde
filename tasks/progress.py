"""The progress of a long stage in the Prefect UI: a progress artifact of its task run, with rate and time left."""

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

INTERVAL = 10.0  # seconds between updates; a shorter stage has no artifact
LAST_UPDATE = 5.0  # seconds that the end of a stage waits for the last update


@dataclass(frozen=True, slots=True)
class Phase:
    """One phase of a stage; `before` of its units were done earlier. `began` is a monotonic time in seconds."""

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


class ArtifactProgress(Progress):
    """Passes everything to `listener` at once, and updates an artifact every `INTERVAL` seconds.

    A thread of its own does the updates, so that a slow or missing API does not delay the stage.
    """

    def __init__(self, stage: str, listener: Progress) -> None:
        """Make it in the context of the stage's task run: the artifact belongs to that run."""
        self.stage = stage
        self.listener = listener
        self.phase: Phase | None = None
        self.published: Phase | None = None
        self.artifact: UUID | None = None
        self.finished = threading.Event()
        context = contextvars.copy_context()
        self.thread = threading.Thread(target=context.run, args=(self._publish_often,), name="progress", daemon=True)

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

    def _publish_often(self) -> None:
        while not self.finished.wait(INTERVAL):
            self._publish()
        if self.artifact:
            self._publish()

    def _publish(self) -> None:
        phase = self.phase
        if phase is None or phase == self.published:
            return
        content: dict[str, Any] = {"progress": phase.percent, "description": str(phase)}
        try:
            if self.artifact:
                update_progress_artifact(self.artifact, **content)
            else:
                artifact = create_progress_artifact(key=f"ssb-progress-{self.stage}", **content)
                assert isinstance(artifact, UUID)
                self.artifact = artifact
        except Exception as e:  # a stage must not fail because of its progress artifact
            log.debug("progress is not published: %s", e)
        else:
            self.published = phase


@contextmanager
def artifact_progress(stage: str, listener: Progress) -> Iterator[Progress]:
    """The progress of a stage, published as an artifact of the current task run until the block ends."""
    progress = ArtifactProgress(stage, listener)
    progress.thread.start()
    try:
        yield progress
    finally:
        progress.finished.set()
        progress.thread.join(LAST_UPDATE)
