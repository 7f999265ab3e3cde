"""All charts of a run as PNGs: colour-blind safe (palette of Okabe and Ito), legible at page width, no pyplot state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from .accuracy import draw_accuracy
from .canvas import png
from .costs import draw_costs
from .funnel import draw_funnel
from .lengths import draw_lengths
from .rounds import draw_rounds
from .training import draw_training
from .votes import draw_votes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ...runs import Run

DRAW: dict[str, Callable[[Run], Figure | None]] = {
    "accuracy": lambda run: draw_accuracy(run.load_summary()["benchmarks"]),
    "training": draw_training,
    "yield": draw_funnel,
    "lengths": draw_lengths,
    "costs": draw_costs,
    "rounds": draw_rounds,
    "votes": draw_votes,
}


def draw_charts(run: Run, names: Sequence[str] = tuple(DRAW)) -> dict[str, bytes]:
    """PNGs by chart name, without the charts that the run has no data for."""
    figures = {name: DRAW[name](run) for name in names}
    return {name: png(figure) for name, figure in figures.items() if figure}
