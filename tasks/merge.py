"""Task merge: a student becomes the base of the next round."""

from .caching import stage_task

merge = stage_task("merge", "Add a student's adapter to its base, for another round.", "gpu")
