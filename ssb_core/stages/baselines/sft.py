"""Baseline sft: cross-entropy on the taught solutions. The gain of SSB over it comes from the soft labels."""

from __future__ import annotations

from typing import ClassVar, Literal

from .. import distill
from ..distill import run

__all__ = ["Spec", "of", "run"]


class Spec(distill.Spec):
    """The same traces, learned as text."""

    stage: ClassVar[str] = "sft"
    method: Literal["sft"] = "sft"  # type: ignore[assignment]


def of(ssb: distill.Spec) -> Spec:
    """The baseline's request for comparison with the student `ssb`."""
    return Spec(**ssb.as_text())
