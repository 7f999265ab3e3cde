"""Selection: properties that hold for every set of verdicts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssb_core import verify
from ssb_core.config import RunConfig
from ssb_core.records import Verdict
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages.select import choose

CORRECT = Verdict("correct", "7", "n:7")
verdict = st.one_of(
    st.just(CORRECT),
    st.sampled_from(["1", "2", "3"]).map(lambda a: Verdict("incorrect", a, f"n:{a}")),
    st.sampled_from(["?", "??"]).map(lambda a: Verdict("unparsable", a, None)),
    st.sampled_from(["no_answer", "timeout", "crashed"]).map(lambda s: Verdict(s)),
)
verdicts = st.lists(verdict, min_size=1, max_size=9).map(lambda vs: dict(enumerate(vs)))


@given(verdicts, st.integers(0, 99))
def test_the_pair_is_one_correct_and_one_wrong_rollout(graded: dict[int, Verdict], seed: int) -> None:
    s = choose("p", graded, seed)
    assert (s.correct is None) == (s.wrong is None) == (s.dropped is not None)
    if s.correct is not None and s.wrong is not None:
        assert graded[s.correct].status == "correct"
        assert graded[s.wrong].status in ("incorrect", "unparsable")


@given(verdicts, st.integers(0, 99))
def test_the_wrong_rollout_has_a_most_common_wrong_answer(graded: dict[int, Verdict], seed: int) -> None:
    s = choose("p", graded, seed)
    wrong = Counter((v.key, v.answer) for v in graded.values() if v.status in ("incorrect", "unparsable"))
    if s.wrong is not None:
        picked = graded[s.wrong]
        assert wrong[picked.key, picked.answer] == max(wrong.values())


@given(verdicts, st.integers(0, 99), st.randoms())
def test_the_order_of_rollouts_does_not_matter(graded: dict[int, Verdict], seed: int, shuffle: object) -> None:
    items = list(graded.items())
    shuffle.shuffle(items)  # type: ignore[attr-defined]
    assert choose("p", dict(items), seed) == choose("p", graded, seed)


@given(verdicts)
def test_a_mixed_problem_has_a_pair_and_a_timeout_is_never_wrong(graded: dict[int, Verdict]) -> None:
    statuses = {v.status for v in graded.values()}
    mixed = "correct" in statuses and bool(statuses & {"incorrect", "unparsable"})
    assert (choose("p", graded, 0).dropped is None) == mixed


def test_ties_are_broken_by_the_seed_and_differ_between_problems() -> None:
    graded = {0: CORRECT, 1: Verdict("incorrect", "1", "n:1"), 2: Verdict("incorrect", "2", "n:2")}
    picks = {choose(f"p{i}", graded, 0).wrong for i in range(40)}
    assert picks == {1, 2}
    assert all(choose(f"p{i}", graded, 5) == choose(f"p{i}", graded, 5) for i in range(9))


def test_the_reason_of_a_drop_names_what_is_missing() -> None:
    wrong, none = Verdict("incorrect", "1", "n:1"), Verdict("no_answer")
    cases = {
        "all_correct": [CORRECT, CORRECT],
        "all_wrong": [wrong, none],
        "unparsed": [CORRECT, none],
        "unverified": [wrong, Verdict("timeout")],
        "too_long": [],
    }
    for reason, graded in cases.items():
        assert choose("p", dict(enumerate(graded)), 0).dropped == reason
    assert choose("p", {0: none, 1: none}, 0).dropped == "unparsed"
    assert choose("p", {0: CORRECT, 1: Verdict("rejected")}, 0).dropped == "unverified"


def recipes(settings: RunConfig, form: str) -> dict[str, str]:
    """Recipe hashes of the stages that verify, for problem sets of a form."""
    benchmark = settings.evaluate.benchmarks[0].model_copy(update={"form": form})
    config = settings.model_copy(update={"problems": settings.problems.model_copy(update={"form": form})})
    given = Pipeline.of(settings, Path("store"))
    pipeline = Pipeline(config, given.model, given.problems)
    wave = pipeline.wave(0, 32)
    (evaluation,) = pipeline.evaluations(None)
    evaluation = evaluation.model_copy(update={"benchmark": benchmark})
    specs = {"select": wave.select, "teach": wave.teach.solutions, "evaluate": evaluation}
    expected = {**verify.versions(), "form": "choice" if form == "choice" else "boxed"}
    assert [s.recipe.content["verify"] for s in specs.values()] == [expected] * 3
    return {stage: s.recipe.hash for stage, s in specs.items()}


def test_verdicts_of_another_form_share_no_shards(small: RunConfig) -> None:
    boxed, choice = recipes(small, "boxed"), recipes(small, "choice")
    assert all(boxed[stage] != choice[stage] for stage in boxed)
    assert boxed == recipes(small, "hash") == recipes(small, "exact")  # prompts ask for a box all the same


def test_verdicts_of_other_versions_share_no_shards(small: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    now = recipes(small, "boxed")
    later = {**verify.versions(), "sympy": "99"}
    monkeypatch.setattr(verify, "versions", lambda: later)
    assert all(now[stage] != other for stage, other in recipes(small, "boxed").items())
