"""ssb_core.runs."""

from .run import (
    SUMMARY_FORMAT,
    Run,
    StageRun,
    versions,
)

__all__ = (
    "SUMMARY_FORMAT",
    "Run",
    "StageRun",
    "versions",
)
