"""The records of an examination, and helpers that several examinations share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

CheckStatus = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of checking one thing: a message, and a remedy if something is wrong."""

    name: str
    status: CheckStatus
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """Something to check, in at most `seconds`. If `check` itself fails, the failure is reported under `name`."""

    group: str
    name: str
    check: Callable[[], Iterable[Check]]
    seconds: float = 60


def nearest(path: Path) -> Path:
    """The path itself if it exists, otherwise the nearest folder above it that exists."""
    whole = path.expanduser().absolute()
    return next(p for p in (whole, *whole.parents) if os.path.lexists(p))
