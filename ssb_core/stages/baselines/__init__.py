"""ssb_core.stages.baselines."""

from .student import (
    ABLATIONS,
    Student,
    grpo,
    rft,
    sft,
    ssb_no_wrong,
)

__all__ = (
    "ABLATIONS",
    "Student",
    "grpo",
    "rft",
    "sft",
    "ssb_no_wrong",
)
