"""A listener that knows the steps of a run: it numbers waves, and estimates how long the whole run still takes."""

from __future__ import annotations

import time

from ..progress import Progress
from .outlook import Kind, Outlook
from .pipeline import Step
from .run import StageRun

EVERY = 1.0  # seconds between estimates


class RunProgress(Progress):
    """Passes every call to `listener`. Labels of phases tell waves, rounds and seeds apart, as labels of steps do."""

    def __init__(self, listener: Progress, outlook: Outlook | None) -> None:
        """Without an `outlook` there is no estimate for the whole run."""
        self.listener, self.outlook = listener, outlook
        self.stage = self.label = ""
        self.kind: Kind = ("", "")
        self.done = self.total = self.before = 0
        self.units = 0  # of this step's work, made now
        self.began = self.phase_began = time.monotonic()
        self.estimated = -EVERY

    def begin_step(self, step: Step) -> None:
        """A step of the run begins."""
        self.stage, self.label = step.spec.stage, step.label
        if self.outlook:
            self.kind = self.outlook.begin(step)
        self.done = self.total = self.before = self.units = 0
        self.began = time.monotonic()

    def end_step(self, happened: StageRun, taught: int = 0) -> None:
        """The step has ended; `taught` is the number of traces that it taught."""
        if self.outlook:
            self.outlook.end(self.kind, happened, taught)

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.total, self.before, self.done, self.phase_began = total, done, done, time.monotonic()
        self.listener.begin(self._full(label), total, unit, done)
        self._estimate()

    def advance(self, n: int = 1) -> None:
        self.done += n
        self._estimate()
        self.listener.advance(n)

    def end(self) -> None:
        self.listener.end()

    def note(self, text: str) -> None:
        self.listener.note(text)

    def wait(self, text: str) -> None:
        self.listener.wait(text)

    def _full(self, label: str) -> str:
        """``capture wave 2`` for the phase ``capture`` of the step ``teach wave 2``."""
        if self.label.startswith(label):
            return self.label
        return label + self.label.removeprefix(self.stage) if self.label.startswith(f"{self.stage} ") else label

    def _estimate(self) -> None:
        """Tell the listener how long the run takes, if the last time is a while ago."""
        now = time.monotonic()
        if self.outlook is None or now - self.estimated < EVERY:
            return
        made = self.done - self.before
        self.units = max(self.units, made)  # the phases of one step have the same units
        rest = (now - self.phase_began) / made * (self.total - self.done) if made else 0.0
        after = self.outlook.seconds_left(self.kind, self.units, now - self.began)
        if after is not None:
            self.estimated = now
            self.listener.estimate(rest + after)
