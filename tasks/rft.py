"""Task rft: a baseline to compare the student with."""

from ssb_core.runs import Run

from .caching import stage_task

rft = stage_task("rft", "Train the same student by cross-entropy on its own correct rollouts.", "gpu")


def publish(run: Run) -> None:
    """Nothing of its own: its scores stand in the results table."""
