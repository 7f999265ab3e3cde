"""The chart of costs: accuracy against the cost of each method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...results.wording import full_name
from .accuracy import interval_cells
from .canvas import SOFT, Chart, blank, colour, dress, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ...runs import Run


COSTS = {"tokens": "tokens sampled for it", "seconds": "seconds to make it"}


def draw_costs(run: Run) -> Chart | None:
    """Accuracy on the first benchmark against the cost of each method; None without baselines."""
    summary = run.load_summary()
    costs = summary["costs"]
    if len(costs) < 2 or not summary["benchmarks"]:
        return None
    name, benchmark = next(iter(summary["benchmarks"].items()))
    scores = benchmark["models"]
    figure = blank(3.2)
    panels = figure.subplots(1, len(COSTS), sharey=True)
    for axes, (unit, words) in zip(panels, COSTS.items(), strict=True):
        dress(axes, xlabel=words, ylabel="% correct" if unit == "tokens" else "")
        _points(axes, scores, {m: c[unit] for m, c in costs.items()})
    legend_below(figure, panels[0])
    title = f"Accuracy on {full_name(name, benchmark)}, with 95% intervals, against cost"
    rows = [
        {"method": m, "tokens": f"{c['tokens']:,}", "seconds": f"{c['seconds']:,.1f}"} | interval_cells(scores[m])
        for m, c in costs.items()
        if m in scores
    ]
    return Chart(title, "Points: accuracy of every method against its sampled tokens and its time", figure, rows)


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
