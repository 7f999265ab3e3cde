"""ssb_core.problems."""

from .load import (
    EMBEDDED,
    FILES,
    Problem,
    ProblemSet,
    content_digest,
    jsonl,
    left_out,
    load,
    nano,
    on_hub,
    rejections,
    total,
)

__all__ = (
    "EMBEDDED",
    "FILES",
    "Problem",
    "ProblemSet",
    "content_digest",
    "jsonl",
    "left_out",
    "load",
    "nano",
    "on_hub",
    "rejections",
    "total",
)
