"""Charts of a run, one file each, as matplotlib figures."""

from .accuracy import draw_accuracy
from .canvas import png
from .funnel import draw_funnel
from .lengths import draw_lengths
from .training import draw_training

__all__ = (
    "draw_accuracy",
    "draw_funnel",
    "draw_lengths",
    "draw_training",
    "png",
)
