"""Task merge: a student becomes the base of the next round."""

from ssb_core.runs import Run

from .caching import stage_task

merge = stage_task("merge", "Add a student's adapter to its base, for another round.", "gpu")


def publish(run: Run) -> None:
    """Nothing of its own: rounds are told with the results."""
