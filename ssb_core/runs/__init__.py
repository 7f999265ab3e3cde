"""Runs: the pipeline, the folder of a run, its plan and status, and the garbage that no run needs."""

from .entries import StageRun
from .environment import versions
from .run import SUMMARY_FORMAT, Draft, Run

__all__ = (
    "SUMMARY_FORMAT",
    "Draft",
    "Run",
    "StageRun",
    "versions",
)
