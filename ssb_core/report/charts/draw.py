"""All charts of a run: colour-blind safe (palette of Okabe and Ito), legible at page width, no pyplot state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .accuracy import draw_accuracy
from .canvas import Chart
from .costs import draw_costs
from .funnel import draw_funnel
from .lengths import draw_lengths
from .rounds import draw_rounds
from .training import draw_training
from .votes import draw_votes

if TYPE_CHECKING:
    from ...runs import Run

DRAW: dict[str, Callable[[Run], Chart | None]] = {
    "accuracy": lambda run: draw_accuracy(run.load_summary()["benchmarks"]),
    "training": draw_training,
    "yield": draw_funnel,
    "lengths": draw_lengths,
    "costs": draw_costs,
    "rounds": draw_rounds,
    "votes": draw_votes,
}


def draw_charts(run: Run, names: Sequence[str] = tuple(DRAW)) -> dict[str, Chart]:
    """Charts by name, without those that the run has no data for."""
    drawn = {name: DRAW[name](run) for name in names}
    return {name: chart for name, chart in drawn.items() if chart}
