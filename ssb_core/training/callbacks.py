"""Callbacks of a training: its progress, its speed, and the order of each epoch."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from ..progress import Progress
from ..store import write_json
from .order import Order


class EpochOrder(TrainerCallback):
    """Sets the epoch of the order. transformers does not if several processes resume within an epoch."""

    def __init__(self, order: Order) -> None:
        self.order = order

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.order.epoch = int(state.epoch or 0)


class Speed:
    """Tokens and seconds of training, added to the numbers that a killed process left in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tokens, self.before = 0, 0.0
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):  # none yet, or damaged
            before = json.loads(path.read_text())
            self.tokens, self.before = int(before["tokens"]), float(before["seconds"])
        self.started = time.monotonic()

    def start(self) -> None:
        self.started = time.monotonic()

    def save(self) -> None:
        write_json(self.path, {"tokens": self.tokens, "seconds": self.before + time.monotonic() - self.started})


class Report(TrainerCallback):
    """Reports every step under the name `label`, and saves the speed beside every checkpoint."""

    def __init__(self, progress: Progress, label: str, speed: Speed) -> None:
        self.progress = progress
        self.label = label
        self.speed = speed

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress.begin(self.label, state.max_steps, "steps", state.global_step)
        self.speed.start()

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress.advance()

    def on_save(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.speed.save()

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        self.progress.end()
