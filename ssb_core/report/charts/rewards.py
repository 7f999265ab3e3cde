"""The chart of rewards: the training curves of baseline grpo."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .canvas import INK, Chart, blank, curve, dress, png


def draw_rewards(log: Sequence[dict[str, Any]]) -> bytes:
    """Mean reward and mean completion length by optimiser step, raw and smoothed, as a PNG.

    `log` has a row for each step with `step`, `reward` and `mean_length`.
    """
    figure = blank(4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    dress(upper)
    curve(upper, log, "reward")
    upper.legend(frameon=False, labelcolor=INK, loc="best")
    dress(lower, "Tokens per completion", xlabel="optimiser step")
    curve(lower, log, "mean_length")
    title = "GRPO: mean reward (share of correct answers)"
    return png(Chart(title, "Curves: mean reward and completion length by optimiser step", figure))
