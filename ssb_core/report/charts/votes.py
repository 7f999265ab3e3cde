"""The chart of votes: the accuracy of the most common answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...evaluation.intervals import wilson
from ...results.wording import full_name
from .canvas import axes_of, blank, colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...runs import Run


def draw_votes(run: Run) -> Figure | None:
    """Accuracy of the most common answer by the number of samples that agree on it, on the first benchmark.

    None if each problem has only one sample, or no model answered anything.
    """
    benchmarks = run.load_summary()["benchmarks"]
    if not benchmarks:
        return None
    name, benchmark = next(iter(benchmarks.items()))
    models = {m: s for m, s in benchmark["models"].items() if m in ("base", "ssb") and s["vote_calibration"]}
    k = benchmark["samples"]
    if k == 1 or not models:
        return None
    figure = blank(3.1)
    title = f"Is a majority right? Votes on {full_name(name, benchmark)}"
    axes = axes_of(
        figure, title, xlabel=f"samples of {k} that agree on the most common answer", ylabel="% of them right"
    )
    for i, (model, score) in enumerate(models.items()):
        at = [v["agree"] + (i - (len(models) - 1) / 2) * 0.06 for v in score["vote_calibration"]]
        heights, whiskers = zip(
            *(_proportion(v, len(score.get("seeds", [0]))) for v in score["vote_calibration"]), strict=True
        )
        hue, reach = colour(model, list(models)), list(zip(*whiskers, strict=True))
        axes.errorbar(at, heights, reach, fmt="o-", color=hue, capsize=3, label=model)
    axes.set_xticks(range(1, k + 1))
    axes.set_ylim(-4, 104)
    axes.legend(frameon=False, loc="lower right")
    return figure


def _proportion(vote: dict[str, Any], seeds: int) -> tuple[float, tuple[float, float]]:
    """A share in percent, and how far its 95% interval extends below and above it.

    Seeds answer the same problems, so they do not add to the number of observations.
    """
    n = max(1, vote["n"] // seeds)
    low, high = wilson(vote["accuracy"] * n, n)
    return 100 * vote["accuracy"], (100 * max(0, vote["accuracy"] - low), 100 * max(0, high - vote["accuracy"]))
