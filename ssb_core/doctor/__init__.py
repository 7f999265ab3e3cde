"""Checks of everything that could prevent a run, before it starts: installation, machine, engine, data, model,
store."""

from .checks import Check, CheckStatus, Examination
from .examine import examinations, examine, failure

__all__ = (
    "Check",
    "CheckStatus",
    "Examination",
    "examinations",
    "examine",
    "failure",
)
