"""Charts that set methods and rounds against each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...evaluation.intervals import wilson
from ...results.wording import named
from .canvas import INK, SOFT, axes_of, blank, colour, dress

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...runs import Run

COSTS = {"tokens": "tokens sampled for it", "seconds": "seconds to make it"}


def costs(run: Run) -> Figure | None:
    """Accuracy on the first benchmark against what each method took; for runs with baselines."""
    summary = run.load_summary()
    if len(summary["costs"]) < 2 or not summary["benchmarks"]:
        return None
    name, benchmark = next(iter(summary["benchmarks"].items()))
    figure = blank(3.4)
    title = f"Accuracy on {named(name, benchmark)}, with 95% intervals, and what it took"
    figure.suptitle(title, x=0.01, ha="left", color=INK, size=11)
    panels = figure.subplots(1, len(COSTS), sharey=True)
    for axes, (unit, words) in zip(panels, COSTS.items(), strict=True):
        dress(axes, "", xlabel=words, ylabel="% correct" if unit == "tokens" else "")
        _points(axes, benchmark["models"], {m: c[unit] for m, c in summary["costs"].items()})
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=len(labels))
    return figure


def _points(axes: Axes, scores: dict[str, dict[str, Any]], spent: dict[str, float]) -> None:
    """A point with whiskers for every method, and a line where the base is."""
    methods = [m for m in spent if m in scores]
    for method in methods:
        score = scores[method]
        low, high = ([100 * abs(score["accuracy"] - bound)] for bound in score["ci95"])
        at, height, hue = [spent[method]], [100 * score["accuracy"]], colour(method, methods)
        axes.errorbar(at, height, [low, high], fmt="o", markersize=7, capsize=4, color=hue, label=method)
    if "base" in scores:
        axes.axhline(100 * scores["base"]["accuracy"], color=SOFT, linewidth=1.2, linestyle="--", label="base")
    axes.set_xlim(0, 1.12 * max(spent.values()))
    axes.xaxis.set_major_locator(_few())
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}")


def _few() -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(4)


def rounds(run: Run) -> Figure | None:
    """Accuracy by round on every benchmark, and the hinted teacher's; for runs of several."""
    summary = run.load_summary()
    if len(summary["rounds"]) < 2 or not summary["benchmarks"]:
        return None
    figure = blank(3.4)
    axes = axes_of(figure, "Accuracy by round, with 95% intervals", xlabel="round", ylabel="% correct")
    names = list(summary["benchmarks"])
    for name in names:
        models = summary["benchmarks"][name]["models"]
        line = [models[m] for m in _by_round(models)]
        heights = [100 * s["accuracy"] for s in line]
        whiskers = [[abs(h - 100 * s["ci95"][side]) for h, s in zip(heights, line, strict=True)] for side in (0, 1)]
        axes.errorbar(
            range(len(line)),
            heights,
            yerr=whiskers,
            color=colour(name, names),
            marker="o",
            capsize=4,
            label=named(name, summary["benchmarks"][name]),
        )
    taught = [(r["number"] - 1, r["hinted_accuracy"]) for r in summary["rounds"] if r["hinted_accuracy"] is not None]
    hinted = "with the hint, on its mixed training problems"
    axes.plot(
        [at for at, _ in taught], [100 * x for _, x in taught], color=INK, linestyle=":", marker="s", label=hinted
    )
    last = max(len(summary["rounds"]), 1)
    axes.set_xticks(range(last + 1), ["base", *map(str, range(1, last + 1))])
    axes.legend(frameon=False, loc="best")
    return figure


def _by_round(models: dict[str, Any]) -> list[str]:
    """Base, student, and the students of later rounds, as far as they were evaluated."""
    later = sorted((m for m in models if m.startswith("ssb-round-")), key=lambda m: int(m.rsplit("-", 1)[1]))
    return [m for m in ("base", "ssb", *later) if m in models]


def votes(run: Run) -> Figure | None:
    """How often the most common answer is right, by how many samples agree on it; for k > 1 on the first benchmark."""
    benchmarks = run.load_summary()["benchmarks"]
    if not benchmarks:
        return None
    name, benchmark = next(iter(benchmarks.items()))
    voted = {m: s for m, s in benchmark["models"].items() if m in ("base", "ssb") and s["vote_calibration"]}
    k, models = benchmark["samples"], voted
    if k == 1 or not models:
        return None
    figure = blank(3.1)
    title = f"Is a majority right? Votes on {named(name, benchmark)}"
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
    """A share in percent, and how far its 95% interval reaches below and above; seeds answer the same problems."""
    n = max(1, vote["n"] // seeds)
    low, high = wilson(vote["accuracy"] * n, n)
    return 100 * vote["accuracy"], (100 * max(0, vote["accuracy"] - low), 100 * max(0, high - vote["accuracy"]))
