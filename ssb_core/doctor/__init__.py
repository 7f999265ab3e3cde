"""Checks of everything that could prevent a run, before it starts: installation, machine, engine, data, model,
store."""

from .checks import Check, CheckStatus, Examination
from .context import DoctorContext
from .examine import before_run, examinations, examine, failure

__all__ = (
    "Check",
    "CheckStatus",
    "DoctorContext",
    "Examination",
    "before_run",
    "examinations",
    "examine",
    "failure",
)
