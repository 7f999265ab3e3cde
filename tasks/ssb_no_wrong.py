"""Task ssb-no-wrong: a baseline to compare the student with."""

from .caching import stage_task

ssb_no_wrong = stage_task("ssb-no-wrong", "Train a student of a teacher that saw no wrong rollout.", "gpu")
