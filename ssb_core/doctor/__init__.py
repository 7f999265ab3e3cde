"""ssb_core.doctor."""

from .examine import (
    Check,
    Examination,
    Status,
    examinations,
    examine,
    failure,
    installation,
    machine,
    model,
    problems,
)

__all__ = (
    "Check",
    "Examination",
    "Status",
    "examinations",
    "examine",
    "failure",
    "installation",
    "machine",
    "model",
    "problems",
)
