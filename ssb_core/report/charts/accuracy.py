"""The chart of accuracies: bars of every model on every benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...results.wording import problem_count
from .canvas import INK, axes_of, blank, colour

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def draw_accuracy(benchmarks: dict[str, Any]) -> Figure | None:
    """Accuracy of every model on every benchmark, with 95% whiskers; None if there is none.

    `benchmarks` is that part of summary.json.
    """
    models = _models(benchmarks)
    if not models:
        return None
    figure = blank(3.2)
    axes = axes_of(figure, "Accuracy, with 95% intervals", ylabel="% correct")
    width = min(0.8 / len(models), 0.3)
    for i, model in enumerate(models):
        shift = (i - (len(models) - 1) / 2) * width
        scores = {at + shift: b["models"][model] for at, b in enumerate(benchmarks.values()) if model in b["models"]}
        _bars(axes, scores, width, colour(model, models), model)
    axes.set_xticks(range(len(benchmarks)), [_tick_label(name, b) for name, b in benchmarks.items()])
    axes.set_xlim(-0.75, len(benchmarks) - 0.25)
    axes.set_ylim(0, min(112.0, axes.get_ylim()[1] * 1.08))
    figure.legend(frameon=False, loc="outside lower center", ncols=len(models))
    return figure


def _tick_label(name: str, benchmark: dict[str, Any]) -> str:
    return f"{name}\npartial: {problem_count(benchmark)}" if benchmark["partial"] else name


def _models(benchmarks: dict[str, Any]) -> list[str]:
    """Every evaluated model once, the base first."""
    names = dict.fromkeys(m for b in benchmarks.values() for m in b["models"])
    return sorted(names, key=lambda m: m != "base")


def _bars(axes: Axes, scores: dict[float, dict[str, Any]], width: float, colour: str, label: str) -> None:
    """One bar for each score, with whiskers for its interval and its value above them."""
    heights = [100 * s["accuracy"] for s in scores.values()]
    low, high = ([100 * s["ci95"][side] for s in scores.values()] for side in (0, 1))
    whiskers = [
        [max(0.0, h - x) for h, x in zip(heights, low, strict=True)],
        [max(0.0, x - h) for h, x in zip(heights, high, strict=True)],
    ]
    style = {"ecolor": INK, "elinewidth": 1.2, "capsize": 4}
    axes.bar(list(scores), heights, width * 0.92, yerr=whiskers, color=colour, label=label, error_kw=style)
    for at, height, top in zip(scores, heights, high, strict=True):
        axes.annotate(
            f"{height:.1f}", (at, max(top, height)), (0, 3), textcoords="offset points", ha="center", color=INK
        )
