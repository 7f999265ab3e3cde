"""What names results in a store, written down: a change here makes everybody's stores sample and train again.

Only a change of how rows are made may change a line of `GOLDEN`, and the changelog says which results are made anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ssb_core import verify
from ssb_core.config import presets
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import Spec, merge

OVERRIDES = (
    "baselines=[grpo,sft,rft,ssb-no-wrong]",
    "grpo.samples=4",
    "rollouts.samples=4",
    "rounds=2",
)

GOLDEN = {
    "rollouts": ("71a58a52120f8e8e", "f5994d25c3e1ce46"),
    "select": ("d5cda9b4d9e61a7f", "c63d057139b2808f"),
    "solutions": ("0b2ef576adb99aa7", "00e69d1fe5d6e12e"),
    "teach": ("121b6fd12d07cb70", "4297812c90af30cf"),
    "distill": ("952c9b87565778c4", "4e1600fa5fe07c87"),
    "grpo": ("67410bb7a4428cd8", "5db3ddb86d7435ad"),
    "sft": ("189f8b0bb491f003", "d131b9787b9f4593"),
    "rft": ("fc656dee7feee3f3", "5ff94b6ba6be8ebb"),
    "ssb-no-wrong": ("4258c701d6348964", "a474468690e62fd3"),
    "merge": ("c7b62ccaae6d6557", "0a22859b4add1ea3"),
    "evaluate base": ("70e616035b9f8228", "5aa37a93224fed4d"),
    "evaluate ssb": ("4e9a9a0d82aa4065", "b4347dc8f644a421"),
}
"""By request: the hash of its recipe, and its fingerprint."""


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setattr(verify, "versions", lambda: {"ssb-verify": "3", "sympy": "1.14.0"})
    return Pipeline.of(presets.load_config("quickstart", overrides=OVERRIDES), Path("store"))


def requests(pipeline: Pipeline) -> Iterator[tuple[str, Spec]]:
    """One request of every kind."""
    wave = pipeline.wave(0, 64)
    yield from (("rollouts", wave.rollouts), ("select", wave.select))
    yield from (("solutions", wave.teach.solutions), ("teach", wave.teach))
    students = pipeline.students([wave, pipeline.wave(64, 96)])
    for student in students:
        yield student.stage, student
    yield "merge", merge.Spec(student=students[0])
    for evaluation in (*pipeline.evaluations(None)[:1], *pipeline.evaluations(students[0])[:1]):
        yield f"evaluate {evaluation.model_name}", evaluation


def test_identities_of_all_requests_stay_as_written_down(pipeline: Pipeline) -> None:
    assert {name: (spec.recipe.hash, spec.fingerprint) for name, spec in requests(pipeline)} == GOLDEN


def test_topk_signal_has_an_identity_of_its_own(pipeline: Pipeline) -> None:
    teach = pipeline.wave(0, 64).teach
    topk = teach.model_copy(update={"codec": "topk", "k": 64, "temperature": 2.0})
    assert (topk.recipe.hash, topk.fingerprint) == ("5a19cc04a9ec31d5", "8019b142da407938")
