"""The chart of accuracies: bars of every model on every benchmark."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...results.wording import percent, problem_count
from .canvas import INK, Chart, axes_of, blank, colour, label_below, legend_below

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CHARACTERS = 72  # of all labels below the bars together


def draw_accuracy(benchmarks: dict[str, Any]) -> Chart | None:
    """Accuracy of every model on every benchmark, with 95% whiskers; None if there is none.

    `benchmarks` is that part of summary.json.
    """
    models = _models(benchmarks)
    if not models:
        return None
    figure = blank(3.2)
    axes = axes_of(figure, ylabel="% correct")
    width = min(0.8 / len(models), 0.3)
    for i, model in enumerate(models):
        shift = (i - (len(models) - 1) / 2) * width
        scores = {at + shift: b["models"][model] for at, b in enumerate(benchmarks.values()) if model in b["models"]}
        _bars(axes, scores, width, colour(model, models), model)
    axes.set_xticks([])
    for at, (name, benchmark) in enumerate(benchmarks.items()):
        label_below(axes, at, _label(name, benchmark), CHARACTERS // len(benchmarks))
    axes.set_xlim(-0.75, len(benchmarks) - 0.25)
    axes.set_ylim(0, min(112.0, axes.get_ylim()[1] * 1.08))
    legend_below(figure, axes)
    alt = "Bars: accuracy of every model on every benchmark, with 95% intervals"
    return Chart("Accuracy, with 95% intervals", alt, figure, _rows(benchmarks, models))


def _label(name: str, benchmark: dict[str, Any]) -> str:
    return f"{name}\npartial: {problem_count(benchmark)}" if benchmark["partial"] else name


def _models(benchmarks: dict[str, Any]) -> list[str]:
    """Every evaluated model once, the base first."""
    names = dict.fromkeys(m for b in benchmarks.values() for m in b["models"])
    return sorted(names, key=lambda m: m != "base")


def _rows(benchmarks: dict[str, Any], models: list[str]) -> list[dict[str, str]]:
    return [
        {"benchmark": name, "model": model} | interval_cells(benchmark["models"][model])
        for name, benchmark in benchmarks.items()
        for model in models
        if model in benchmark["models"]
    ]


def interval_cells(score: dict[str, Any]) -> dict[str, str]:
    """Accuracy and the ends of its 95% interval, in percent."""
    low, high = score["ci95"]
    return {"accuracy %": percent(score["accuracy"]), "from %": percent(low), "to %": percent(high)}


def _bars(axes: Axes, scores: dict[float, dict[str, Any]], width: float, colour: str, label: str) -> None:
    """One bar for each score, with whiskers for its interval and its value above them."""
    heights = [100 * s["accuracy"] for s in scores.values()]
    low, high = ([100 * s["ci95"][side] for s in scores.values()] for side in (0, 1))
    whiskers = [
        [max(0.0, h - x) for h, x in zip(heights, low, strict=True)],
        [max(0.0, x - h) for h, x in zip(heights, high, strict=True)],
    ]
    style = {"color": INK, "ecolor": INK, "elinewidth": 1.2, "capsize": 4}
    axes.bar(list(scores), heights, width * 0.92, yerr=whiskers, color=colour, label=label, error_kw=style)
    size = 10 if width > 0.15 else 8
    for at, height, top in zip(scores, heights, high, strict=True):
        place: Any = {"textcoords": "offset points", "ha": "center", "color": INK, "size": size}
        axes.annotate(f"{height:.1f}", (at, max(top, height)), (0, 3), **place)
