"""The verifier: statuses, order, and unverifiable golds."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice, repeat

import pytest

from ssb_core.records import AnswerForm
from ssb_core.verify import Verifier, unverifiable, versions
from ssb_core.verify.latex import MAX_LENGTH


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier() as shared:
        yield shared


def test_every_status_except_timeout_and_crash(verifier: Verifier) -> None:
    completions = [r"\boxed{0.5}", r"\boxed{2}", "0.5", r"\boxed{}", rf"\boxed{{{'9' * 500}}}"]
    verdicts = [(v.status, v.answer, v.key) for v in verifier.grade(zip(completions, repeat(r"\frac12")))]
    assert verdicts == [
        ("correct", "0.5", "n:1/2"),
        ("incorrect", "2", "n:2"),
        ("no_answer", None, None),
        ("unparsable", "", None),
        ("rejected", "9" * 500, None),
    ]


def test_verdicts_have_their_seconds_and_versions_are_known(verifier: Verifier) -> None:
    (quick, slow) = verifier.grade([(r"\boxed{5}", "5"), (r"\boxed{\sqrt{17}+1}", "5")])
    assert 0 < quick.seconds < slow.seconds < 3
    assert versions()["math-verify"] == "0.9.0" and versions()["ssb-verify"]


def test_grading_streams_in_order() -> None:
    endless = ((rf"\boxed{{{n}}}", "3") for n in iter(int, None) for n in range(10))
    with Verifier() as verifier:
        assert [v.status == "correct" for v in islice(verifier.grade(endless), 5)] == [False, False, False, True, False]


def test_choices_are_graded_by_their_letter() -> None:
    with Verifier("choice") as verifier:
        completions = [r"\boxed{\text{(B)}}", "B", r"\boxed{A}", r"\boxed{12}", "it must be B"]
        statuses = [v.status for v in verifier.grade(zip(completions, repeat("(B)")))]
    assert statuses == ["correct", "correct", "incorrect", "unparsable", "no_answer"]


UNVERIFIABLE = [
    ("", "boxed", "it is empty"),
    (r"\text{}", "boxed", "it is empty"),
    (".", "boxed", "it is empty"),
    ("9" * (MAX_LENGTH + 1), "boxed", "longer than 1000 characters"),
    ("10^{100000}", "boxed", "an exponent of more than 4 digits"),
    ("12", "choice", "'12' is not a choice from A to E"),
]


@pytest.mark.parametrize(("gold", "form", "reason"), UNVERIFIABLE)
def test_an_unverifiable_gold_is_an_error_and_no_wrong_answer(gold: str, form: AnswerForm, reason: str) -> None:
    assert unverifiable(gold, form) == reason
    with pytest.raises(ValueError, match="exclude its problem"):
        list(Verifier(form).grade([(r"\boxed{1}", gold)]))
