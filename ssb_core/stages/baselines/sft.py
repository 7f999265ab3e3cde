"""Baseline sft: cross-entropy on the taught solutions. What SSB gains over it, the soft labels add."""

from __future__ import annotations

from typing import ClassVar, Literal

from .. import distill
from ..distill import run

__all__ = ["Spec", "of", "run"]


class Spec(distill.Spec):
    """The same traces, read as text."""

    stage: ClassVar[str] = "sft"
    method: Literal["sft"] = "sft"  # type: ignore[assignment]


def of(ssb: distill.Spec) -> Spec:
    """What is compared with the student `ssb`."""
    return Spec(**ssb.as_text())
