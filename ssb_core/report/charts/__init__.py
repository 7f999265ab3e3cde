"""Charts of a run, one file each, as matplotlib figures with their numbers as rows; pages show them as SVG or PNG."""

from .accuracy import draw_accuracy
from .canvas import Chart, png
from .funnel import draw_funnel
from .lengths import draw_lengths
from .svg import svg
from .training import draw_training

__all__ = (
    "Chart",
    "draw_accuracy",
    "draw_funnel",
    "draw_lengths",
    "draw_training",
    "png",
    "svg",
)
