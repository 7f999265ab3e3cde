"""Task sft: a baseline to compare the student with."""

from ssb_core.runs import Run

from .caching import stage_task

sft = stage_task("sft", "Train the same student by cross-entropy on the taught solutions.", "gpu")


def publish(run: Run) -> None:
    """Nothing of its own: its scores stand in the results table."""
