"""The chart of costs: accuracy against the cost of each method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...results.wording import full_name
from .canvas import INK, SOFT, blank, colour, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...runs import Run


COSTS = {"tokens": "tokens sampled for it", "seconds": "seconds to make it"}


def draw_costs(run: Run) -> Figure | None:
    """Accuracy on the first benchmark against the cost of each method; None without baselines."""
    summary = run.load_summary()
    if len(summary["costs"]) < 2 or not summary["benchmarks"]:
        return None
    name, benchmark = next(iter(summary["benchmarks"].items()))
    figure = blank(3.4)
    title = f"Accuracy on {full_name(name, benchmark)}, with 95% intervals, against cost"
    figure.suptitle(title, x=0.01, ha="left", color=INK, size=11)
    panels = figure.subplots(1, len(COSTS), sharey=True)
    for axes, (unit, words) in zip(panels, COSTS.items(), strict=True):
        dress(axes, "", xlabel=words, ylabel="% correct" if unit == "tokens" else "")
        _points(axes, benchmark["models"], {m: c[unit] for m, c in summary["costs"].items()})
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=len(labels))
    return figure


def _points(axes: Axes, scores: dict[str, dict[str, Any]], spent: dict[str, float]) -> None:
    """A point with whiskers for every method, and a line for the base."""
    methods = [m for m in spent if m in scores]
    for method in methods:
        score = scores[method]
        low, high = ([100 * abs(score["accuracy"] - bound)] for bound in score["ci95"])
        at, height, hue = [spent[method]], [100 * score["accuracy"]], colour(method, methods)
        axes.errorbar(at, height, [low, high], fmt="o", markersize=7, capsize=4, color=hue, label=method)
    if "base" in scores:
        axes.axhline(100 * scores["base"]["accuracy"], color=SOFT, linewidth=1.2, linestyle="--", label="base")
    axes.set_xlim(0, 1.12 * max(spent.values()))
    axes.xaxis.set_major_locator(_few_ticks())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")


def _few_ticks() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)
