"""The entries of a run's small files: requests that it began and finished, the phase at work, and its failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ..store import Manifest

if TYPE_CHECKING:
    from ..stages import Spec


@dataclass(frozen=True, slots=True)
class StageRun:
    """The part of one request in a run: whether it ran or was cached, how long it took, and what it made.

    Trainings and evaluations name the `model` and its training `seed`, evaluations also the `benchmark`. The first
    `round` is 1.
    """

    stage: str
    label: str
    recipe: str
    fingerprint: str
    status: Literal["ran", "cached", "resumed"]
    seconds: float
    made: int
    reused: int
    rows: int
    model: str = ""
    benchmark: str = ""
    seed: int | None = None
    round: int = 1

    @classmethod
    def of(cls, spec: Spec, label: str, manifest: Manifest, made: int, reused: int, seconds: float) -> StageRun:
        """The entry of a finished request. It is cached if nothing was made now."""
        return cls(
            stage=spec.stage,
            label=label,
            recipe=manifest.recipe,
            fingerprint=manifest.fingerprint,
            status="cached" if not made else "resumed" if reused else "ran",
            seconds=round(seconds, 2),
            made=made,
            reused=reused if made else manifest.units,
            rows=manifest.rows,
            round=spec.round,
            **spec.labels,
        )


@dataclass(frozen=True, slots=True)
class Begun:
    """A request that an unfinished run has begun, and when, as Unix time in seconds."""

    stage: str
    recipe: str
    fingerprint: str
    label: str
    since: float


@dataclass(frozen=True, slots=True)
class Phase:
    """How far a phase of work was when it was last noted, at Unix time `at` in seconds.

    `done` of `total` units were finished, `before` of them by an earlier process; this one has worked for `seconds`.
    """

    label: str
    unit: str
    total: int
    done: int
    before: int
    seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class Failure:
    """The error that ended a run: in which stage and request, its type and message, and its Unix time in seconds.

    `label` is that of the request, or says what was made after the last one.
    """

    stage: str
    label: str
    error: str
    message: str
    at: float
