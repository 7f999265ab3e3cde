"""Task sft: a baseline to compare the student with."""

from .caching import stage_task

sft = stage_task("sft", "Train the same student by cross-entropy on the taught solutions.", "gpu")
