"""Baseline ssb-no-wrong: the teacher sees the correct rollout only. The gain of SSB over it is due to the wrong one."""

from __future__ import annotations

from typing import ClassVar, Literal

from .. import distill, teach
from ..distill import run

__all__ = ["Spec", "of", "run", "teach_of"]


class Spec(distill.Spec):
    """Solutions of the same problems, written without the wrong rollout."""

    stage: ClassVar[str] = "ssb-no-wrong"
    method: Literal["ssb-no-wrong"] = "ssb-no-wrong"  # type: ignore[assignment]


def teach_of(request: teach.Spec) -> teach.Spec:
    """The same request to a teacher that does not see the wrong rollout."""
    solutions = request.solutions.model_copy(update={"show_wrong": False})
    return request.model_copy(update={"solutions": solutions})


def of(ssb: distill.Spec) -> Spec:
    """The baseline's request for comparison with the student `ssb`."""
    taught = tuple(teach_of(request) for request in ssb.teach)
    return Spec(teach=taught, limit=ssb.limit, distill=ssb.distill, execution=ssb.execution)
