"""The chart of training: loss and gradient norm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import queries
from .canvas import INK, blank, curve, dress

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...runs import Run


DIVERGENCES = {"forward_kl": "forward KL", "reverse_kl": "reverse KL", "jsd": "JSD"}


def draw_training(run: Run) -> Figure | None:
    """Loss and gradient norm by optimiser step, raw and smoothed; None without a student."""
    log = queries.load_training_log(run)
    if not log:
        return None
    figure = blank(4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    config = queries.load_config(run).distill
    mixed = f", {config.cross_entropy:.0%} cross-entropy" if config.cross_entropy else ""
    dress(upper, f"Distillation loss ({DIVERGENCES[config.divergence]} times T²{mixed}, nats a token)")
    curve(upper, log, "loss")
    if held_out := [(row["step"], row["held_out_loss"]) for row in log if "held_out_loss" in row]:
        upper.plot(*zip(*held_out, strict=True), color=INK, linewidth=1, marker="o", markersize=4, label="held out")
    upper.legend(frameon=False, loc="best")
    clip = config.max_grad_norm
    dress(lower, f"Gradient norm (clipped at {clip:g})", xlabel="optimiser step")
    curve(lower, log, "grad_norm")
    if clip <= lower.get_ylim()[1]:
        lower.axhline(clip, color=INK, linewidth=1, linestyle="--")
    return figure
