"""The chart of training: loss and gradient norm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...results import queries
from .canvas import INK, Chart, blank, curve, dress, smooth

if TYPE_CHECKING:
    from ...runs import Run


DIVERGENCES = {"forward_kl": "forward KL", "reverse_kl": "reverse KL", "jsd": "JSD"}
COLUMNS = {"held_out_loss": "held out", "grad_norm": "gradient norm"}
MOST_ROWS = 200


def draw_training(run: Run) -> Chart | None:
    """Loss and gradient norm by optimiser step, raw and smoothed; None without a student."""
    log = queries.load_training_log(run)
    if not log:
        return None
    figure = blank(4.0)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    config = queries.load_config(run).distill
    mixed = f", {config.cross_entropy:.0%} cross-entropy" if config.cross_entropy else ""
    dress(upper)
    curve(upper, log, "loss")
    if held_out := [(row["step"], row["held_out_loss"]) for row in log if "held_out_loss" in row]:
        upper.plot(*zip(*held_out, strict=True), color=INK, linewidth=1, marker="o", markersize=4, label="held out")
    upper.legend(frameon=False, labelcolor=INK, loc="best")
    clip = config.max_grad_norm
    dress(lower, f"Gradient norm (clipped at {clip:g})", xlabel="optimiser step")
    curve(lower, log, "grad_norm")
    if clip <= lower.get_ylim()[1]:
        lower.axhline(clip, color=INK, linewidth=1, linestyle="--")
    title = f"Distillation loss ({DIVERGENCES[config.divergence]} times T²{mixed}, nats a token)"
    return Chart(title, "Curves: distillation loss and gradient norm by optimiser step", figure, _rows(log))


def _rows(log: list[dict[str, Any]]) -> list[dict[str, str]]:
    """The training log, of which a long one has evenly spaced steps and those with a held-out loss."""
    every = -(-len(log) // MOST_ROWS)
    averages = smooth([row["loss"] for row in log])
    names = [name for name in COLUMNS if any(name in row for row in log)]
    return [
        {"step": f"{row['step']:,}", "loss": f"{row['loss']:.5f}", "moving average": f"{average:.5f}"}
        | {COLUMNS[name]: f"{row[name]:.5f}" if name in row else "" for name in names}
        for i, (row, average) in enumerate(zip(log, averages, strict=True))
        if (len(log) - 1 - i) % every == 0 or "held_out_loss" in row
    ]
