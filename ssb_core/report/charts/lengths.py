"""The chart of completion lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import queries
from ...results.wording import full_name
from .canvas import axes_of, blank, colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...runs import Run


def draw_lengths(run: Run) -> Figure | None:
    """Tokens per completion of base and student on the first benchmark; None without an evaluation."""
    import numpy as np

    evaluations = queries.load_evaluations(run)
    first = [e for e in evaluations if e.benchmark == evaluations[0].benchmark]
    if not first:
        return None
    shown = [e for e in first if e.model in ("base", "ssb")] or first  # an evaluation may have an adapter alone
    lengths = {e.model: queries.load_lengths(run, e.manifest) for e in shown}
    every = np.concatenate(list(lengths.values()))
    width = -(-int(np.ptp(every) + 1) // 40)  # in whole tokens, because otherwise counts alternate between bins
    edges = (np.arange(every.min(), every.max() + width + 1, width) - 0.5).tolist()
    figure = blank(2.9)
    where = full_name(first[0].benchmark, run.load_summary()["benchmarks"][first[0].benchmark])
    axes = axes_of(figure, f"Completion length on {where}", xlabel="tokens", ylabel="% of samples")
    for model, tokens in lengths.items():
        hue, share = colour(model, list(lengths)), np.full(len(tokens), 100 / len(tokens))
        label = f"{model} (mean {tokens.mean():.0f})"
        axes.hist(tokens, edges, weights=share, color=hue, alpha=0.35)
        axes.hist(tokens, edges, weights=share, color=hue, histtype="step", linewidth=1.8, label=label)
    axes.legend(frameon=False, loc="upper right")
    return figure
