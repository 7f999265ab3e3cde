"""Threads of OpenMP that wait for work spin only briefly.

By default they spin for so long that a run takes up to ten times as long as soon as another process wants the same
cores. libgomp reads the variable once, when torch loads it. Hundreds of places may be the first that imports torch, in
the library, in commands and in the processes of stages, trainings and workers; but each of them imports `ssb_core`
before. So this is the one module that changes something when it is imported, and `ssb_core` imports it first.
"""

from __future__ import annotations

import os
import sys

VARIABLE = "GOMP_SPINCOUNT"
LITTLE = "1000"  # rounds; measured in tests/bench/test_spinning.py

TOO_LATE = "torch" in sys.modules and VARIABLE not in os.environ
"""Whether the user's program imported torch before ssb_core, so that only processes started from now on spin little."""

os.environ.setdefault(VARIABLE, LITTLE)


def warning() -> str | None:
    """The note for a program that samples on the CPU, if torch came first."""
    if not TOO_LATE:
        return None
    return (
        "torch was imported before ssb_core: while other programs use the cores, this one may be many times slower\n"
        f"  remedy: import ssb_core before torch, or export {VARIABLE}={LITTLE}"
    )
