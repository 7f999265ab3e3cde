"""ssb_core.report.charts."""

from .run import (
    accuracy,
    compared,
    draw_charts,
    funnel,
    lengths,
    png,
    training,
)

__all__ = (
    "accuracy",
    "compared",
    "draw_charts",
    "funnel",
    "lengths",
    "png",
    "training",
)
