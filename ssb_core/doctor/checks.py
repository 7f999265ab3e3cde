"""What examinations are made of, and how they speak of sizes."""

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


def size(n: float) -> str:
    """Bytes in words: ``1.3 MB``, ``152 GB``."""
    return _scaled(n, ("bytes", "kB", "MB", "GB", "TB"))


def count(n: float) -> str:
    """A large number in words: ``0.9 million``, ``3.1 billion``."""
    return f"{n / 1e9:.1f} billion" if n >= 1e9 else f"{n / 1e6:.1f} million"


def _scaled(n: float, units: tuple[str, ...]) -> str:
    while n >= 1000 and len(units) > 1:
        n, units = n / 1000, units[1:]
    return f"{n:.1f} {units[0]}" if n < 10 and units[0] != "bytes" else f"{n:.0f} {units[0]}"


def nearest(path: Path) -> Path:
    """The path itself, or else the first above it that is there."""
    whole = path.expanduser().absolute()
    return next(p for p in (whole, *whole.parents) if os.path.lexists(p))
