"""Task rft: a baseline to compare the student with."""

from .caching import stage_task

rft = stage_task("rft", "Train the same student by cross-entropy on its own correct rollouts.", "gpu")
