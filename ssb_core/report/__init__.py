"""Words, tables and pictures of finished runs: report.html, the comparison page, and the parts they share."""

from .charts.draw import draw_charts
from .html import page, write
from .tables import results_table
from .verdict import verdict_in_words

__all__ = (
    "draw_charts",
    "page",
    "results_table",
    "verdict_in_words",
    "write",
)
