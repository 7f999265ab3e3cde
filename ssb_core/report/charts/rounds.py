"""The chart of rounds: accuracy by round of bootstrapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...results.wording import full_name
from .canvas import INK, axes_of, blank, colour

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...runs import Run


def draw_rounds(run: Run) -> Figure | None:
    """Accuracy by round on every benchmark, and that of the hinted teacher; None for runs of one round."""
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
            label=full_name(name, summary["benchmarks"][name]),
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
    """Base, student and the students of later rounds, if they were evaluated."""
    later = sorted((m for m in models if m.startswith("ssb-round-")), key=lambda m: int(m.rsplit("-", 1)[1]))
    return [m for m in ("base", "ssb", *later) if m in models]
