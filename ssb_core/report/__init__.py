"""ssb_core.report."""

from .html import (
    HEAT,
    breakdown,
    draw_charts,
    page,
    rendered,
    results_table,
    verdict_in_words,
    write,
)

__all__ = (
    "HEAT",
    "breakdown",
    "draw_charts",
    "page",
    "rendered",
    "results_table",
    "verdict_in_words",
    "write",
)
