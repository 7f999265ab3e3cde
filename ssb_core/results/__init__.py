"""Numbers read back from finished runs: summaries, comparisons, problem histories and the hint's effect."""

from .problem_history import ProblemHistory, load_history
from .typed_summary import NamedDifference, Summary, read_summary

__all__ = (
    "NamedDifference",
    "ProblemHistory",
    "Summary",
    "load_history",
    "read_summary",
)
