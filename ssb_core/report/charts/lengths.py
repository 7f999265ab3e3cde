"""The chart of completion lengths."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import queries
from ...results.wording import full_name, percent
from .canvas import INK, Chart, axes_of, blank, colour

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from ...runs import Run

BINS = 40


def draw_lengths(run: Run) -> Chart | None:
    """Tokens per completion of base and student on the first benchmark; None without an evaluation."""
    evaluations = queries.load_evaluations(run)
    first = [e for e in evaluations if e.benchmark == evaluations[0].benchmark]
    if not first:
        return None
    shown = [e for e in first if e.model in ("base", "ssb")] or first  # an evaluation may have an adapter alone
    lengths = {e.model: queries.load_lengths(run, e.manifest) for e in shown}
    edges, shares = _shares(lengths)
    figure = blank(2.7)
    axes = axes_of(figure, xlabel="tokens", ylabel="% of samples")
    for model, share in shares.items():
        hue, label = colour(model, list(shares)), f"{model} (mean {lengths[model].mean():.0f})"
        axes.stairs(100 * share, edges - 0.5, fill=True, color=hue, alpha=0.35)
        axes.stairs(100 * share, edges - 0.5, color=hue, linewidth=1.8, label=label)
    axes.legend(frameon=False, labelcolor=INK, loc="upper right")
    where = full_name(first[0].benchmark, run.load_summary()["benchmarks"][first[0].benchmark])
    rows = [
        {"tokens": _span(int(edges[i]), int(edges[i + 1]))} | {f"{m} %": percent(s[i]) for m, s in shares.items()}
        for i in range(len(edges) - 1)
        if any(s[i] for s in shares.values())
    ]
    return Chart(f"Completion length on {where}", "Histogram: tokens per completion, by model", figure, rows)


def _shares(lengths: dict[str, NDArray[np.int64]]) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """The first length of each bin and the end of the last one, and the share of every model's samples in each bin."""
    import numpy as np

    every = np.concatenate(list(lengths.values()))
    width = -(-int(np.ptp(every) + 1) // BINS)  # in whole tokens, because otherwise counts alternate between bins
    edges = np.arange(every.min(), every.max() + width + 1, width)
    return edges, {m: np.histogram(tokens, edges - 0.5)[0] / len(tokens) for m, tokens in lengths.items()}


def _span(start: int, stop: int) -> str:
    """``120 to 124``, or ``120`` for a bin of one length."""
    return f"{start:,}" if stop - start == 1 else f"{start:,} to {stop - 1:,}"
