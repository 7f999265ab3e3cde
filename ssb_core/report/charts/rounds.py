"""The chart of rounds: accuracy by round of bootstrapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...results.wording import full_name, percent
from .accuracy import interval_cells
from .canvas import INK, Chart, axes_of, blank, colour

if TYPE_CHECKING:
    from ...runs import Run

HINTED = "with the hint, on its mixed training problems"


def draw_rounds(run: Run) -> Chart | None:
    """Accuracy by round on every benchmark, and that of the hinted teacher; None for runs of one round."""
    summary = run.load_summary()
    if len(summary["rounds"]) < 2 or not summary["benchmarks"]:
        return None
    figure = blank(3.2)
    axes = axes_of(figure, xlabel="round", ylabel="% correct")
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
    hinted: Any = {"color": INK, "linestyle": ":", "marker": "s", "label": HINTED}
    axes.plot([at for at, _ in taught], [100 * x for _, x in taught], **hinted)
    last = max(len(summary["rounds"]), 1)
    axes.set_xticks(range(last + 1), ["base", *map(str, range(1, last + 1))])
    axes.legend(frameon=False, labelcolor=INK, loc="best")
    alt = "Lines: accuracy by round on every benchmark, and of the hinted teacher"
    return Chart("Accuracy by round, with 95% intervals", alt, figure, _rows(summary))


def _rows(summary: dict[str, Any]) -> list[dict[str, str]]:
    """Every point of the chart. The teacher, which is measured on training problems, has no interval."""
    rows = [
        {"measured on": name, "after round": str(number)} | interval_cells(b["models"][model])
        for name, b in summary["benchmarks"].items()
        for number, model in enumerate(_by_round(b["models"]))
    ]
    return rows + [
        {"measured on": HINTED, "after round": str(r["number"] - 1), "accuracy %": percent(r["hinted_accuracy"])}
        | {"from %": "", "to %": ""}
        for r in summary["rounds"]
        if r["hinted_accuracy"] is not None
    ]


def _by_round(models: dict[str, Any]) -> list[str]:
    """Base, student and the students of later rounds, if they were evaluated."""
    later = sorted((m for m in models if m.startswith("ssb-round-")), key=lambda m: int(m.rsplit("-", 1)[1]))
    return [m for m in ("base", "ssb", *later) if m in models]
