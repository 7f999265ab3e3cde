"""The chart of votes: the accuracy of the most common answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...evaluation.intervals import wilson
from ...results.wording import full_name
from .canvas import INK, Chart, axes_of, blank, colour

if TYPE_CHECKING:
    from ...runs import Run

TICKS = 16


@dataclass(frozen=True, slots=True)
class Point:
    """The `n` answers on which `agree` samples agree. `share` of them is right; all shares are in percent."""

    agree: int
    n: int
    share: float
    low: float
    high: float


def draw_votes(run: Run) -> Chart | None:
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
    figure = blank(3.0)
    axes = axes_of(figure, xlabel=f"samples of {k} that agree on the most common answer", ylabel="% of them right")
    points = {m: [_point(vote, len(s.get("seeds", [0]))) for vote in s["vote_calibration"]] for m, s in models.items()}
    for i, (model, line) in enumerate(points.items()):
        at = [p.agree + (i - (len(points) - 1) / 2) * 0.06 for p in line]
        reach = [[max(0, p.share - p.low) for p in line], [max(0, p.high - p.share) for p in line]]
        hue = colour(model, list(points))
        axes.errorbar(at, [p.share for p in line], reach, fmt="o-", color=hue, capsize=3, label=model)
    axes.set_xticks(range(1, k + 1, -(-k // TICKS)))
    axes.set_ylim(-4, 104)
    axes.legend(frameon=False, labelcolor=INK, loc="lower right")
    title = f"Is a majority right? Votes on {full_name(name, benchmark)}, with 95% intervals"
    alt = "Lines: accuracy of the most common answer, by the number of samples that agree on it"
    return Chart(title, alt, figure, [_row(model, p) for model, line in points.items() for p in line])


def _point(vote: dict[str, Any], seeds: int) -> Point:
    """Seeds answer the same problems, so they do not add to the number of observations."""
    n = max(1, vote["n"] // seeds)
    low, high = wilson(vote["accuracy"] * n, n)
    return Point(vote["agree"], vote["n"], 100 * vote["accuracy"], 100 * low, 100 * high)


def _row(model: str, p: Point) -> dict[str, str]:
    shares = {"right %": p.share, "from %": p.low, "to %": p.high}
    return {"model": model, "samples that agree": f"{p.agree}", "answers": f"{p.n:,}"} | {
        name: f"{share:.1f}" for name, share in shares.items()
    }
