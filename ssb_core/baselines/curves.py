"""The training curves of baseline grpo as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import charts


def rewards(log: Sequence[dict[str, Any]]) -> bytes:
    """Mean reward and mean completion length by optimiser step, raw and smoothed, as a PNG."""
    figure = charts._figure(4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    charts._dress(upper, "GRPO: mean reward (share of correct answers)")
    charts._curve(upper, log, "reward")
    upper.legend(frameon=False, loc="best")
    charts._dress(lower, "Tokens per completion", xlabel="optimiser step")
    charts._curve(lower, log, "mean_length")
    return charts._png(figure)
