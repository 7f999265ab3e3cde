"""Problem sets: read from any source, checked at once, and kept out of memory.

`load` reads a configured set (embedded, file or hub), `jsonl` reads JSON lines, `problem_set` is the sequence type that
all stages take their problems from, and `nano` generates the embedded sets.
"""

from __future__ import annotations

from .load import (
    EMBEDDED,
    FILE_SUFFIXES,
    count_verifiable,
    is_on_hub,
    load_problems,
    load_unchanged,
    rejections,
    unverifiable,
)
from .problem_set import ProblemSet, content_digest

__all__ = (
    "EMBEDDED",
    "FILE_SUFFIXES",
    "ProblemSet",
    "content_digest",
    "count_verifiable",
    "is_on_hub",
    "load_problems",
    "load_unchanged",
    "rejections",
    "unverifiable",
)
