"""The funnel chart: from the problems sampled to the traces trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...results import queries
from .canvas import INK, PALE, SOFT, STUDENT, Chart, axes_of, blank

if TYPE_CHECKING:
    from ...runs import Run


def draw_funnel(run: Run) -> Chart | None:
    """The number of problems that each step kept, and its reasons to drop the others; None before the select stage.

    The chart has no rows: wherever it is shown, a table of the steps with their reasons stands beside it.
    """
    steps = queries.load_funnel(run)
    if not steps:
        return None
    figure = blank(0.4 + 0.66 * len(steps))
    axes = axes_of(figure)
    whole = steps[0].kept
    for at, step in enumerate(steps):
        axes.barh(at, step.kept + sum(step.dropped.values()), 0.46, color=PALE)
        axes.barh(at, step.kept, 0.46, color=STUDENT)
        axes.text(whole * 1.015, at, f"{step.kept:,} ({step.kept / whole:.0%})", va="center", color=INK, weight="bold")
        reasons = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in step.dropped.items())
        axes.text(0, at + 0.38, f"dropped: {reasons}" if reasons else "", va="center", color=SOFT, fontsize=9)
    axes.set_yticks(range(len(steps)), [s.name for s in steps])
    axes.set_xlim(0, whole * 1.2)
    axes.set_ylim(len(steps) - 0.4, -0.4)
    axes.grid(False)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return Chart("Problems kept by each step", "Funnel: problems sampled, mixed, taught and trained on", figure)
