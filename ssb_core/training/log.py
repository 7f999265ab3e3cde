"""The log of a training: a JSON line for each optimiser step."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from ..errors import StoreError

LOG = "log.jsonl"
CURVES = "tensorboard"
SPEED = "speed.json"


def write_log(directory: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write the log into a training's directory."""
    (directory / LOG).write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_log(directory: Path) -> list[dict[str, Any]]:
    """The log in a training's directory, a row for each optimiser step."""
    return [json.loads(line) for line in (directory / LOG).read_text().splitlines()]


def distillation_rows(history: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of a distillation from the history of its `Trainer`, with the held-out loss where it was computed."""
    columns = ("step", "loss", "grad_norm", "learning_rate", "tokens")
    held_out = {row["step"]: row["eval_loss"] for row in history if "eval_loss" in row}
    rows = [{k: row[k] for k in columns if k in row} for row in history if "loss" in row]
    return [row | ({"held_out_loss": held_out[row["step"]]} if row["step"] in held_out else {}) for row in rows]


def refuse_divergence(log: Sequence[dict[str, Any]], field: str) -> None:
    """Refuse a log whose loss or gradient is not finite; `field` is the setting to lower.

    Raises:
        StoreError: training diverged.
    """
    for row in log:
        if not (math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"])):
            raise StoreError(
                f"training diverged at step {row['step']} (loss {row['loss']}, gradient norm {row['grad_norm']}); "
                f"lower {field}"
            )
