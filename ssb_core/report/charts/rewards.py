"""The chart of rewards: the training curves of baseline grpo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .canvas import blank, curve, dress, png


def draw_rewards(log: Sequence[dict[str, Any]]) -> bytes:
    """Mean reward and mean completion length by optimiser step, raw and smoothed, as a PNG.

    `log` has a row for each step with `step`, `reward` and `mean_length`.
    """
    figure = blank(4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    dress(upper, "GRPO: mean reward (share of correct answers)")
    curve(upper, log, "reward")
    upper.legend(frameon=False, loc="best")
    dress(lower, "Tokens per completion", xlabel="optimiser step")
    curve(lower, log, "mean_length")
    return png(figure)
