"""Runs: the pipeline, the folder of a run, its plan and status, and the garbage that no run needs."""

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
