"""What examinations are made of."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was found, and what to do if that is not as it should be."""

    name: str
    status: Status
    found: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Examination:
    """A look at one thing, which may take `seconds` at most. `name` tells what it was about if it fails."""

    group: str
    name: str
    look: Callable[[], Iterable[Check]]
    seconds: float = 60


def nearest(path: Path) -> Path:
    """The path itself, or else the first above it that is there."""
    whole = path.expanduser().absolute()
    return next(p for p in (whole, *whole.parents) if os.path.lexists(p))
