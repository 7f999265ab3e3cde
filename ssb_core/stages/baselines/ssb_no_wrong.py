"""Baseline ssb-no-wrong: the teacher sees the correct rollout only. What SSB gains over it, the wrong one adds."""

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
    """The same request to a teacher that does not see what is wrong."""
    solutions = request.solutions.model_copy(update={"wrong_shown": False})
    return request.model_copy(update={"solutions": solutions})


def of(ssb: distill.Spec) -> Spec:
    """What is compared with the student `ssb`."""
    taught = tuple(teach_of(request) for request in ssb.teach)
    return Spec(teach=taught, limit=ssb.limit, distill=ssb.distill, execution=ssb.execution)
