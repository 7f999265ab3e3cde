"""Equality of answers: which answers are equal, and that equality is an equivalence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from ssb_core.verify import Verifier

from . import cases


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier() as shared:
        yield shared


def judged(verifier: Verifier, gold: str, answer: str) -> str:
    """The status of `answer` in a box."""
    (verdict,) = verifier.grade([(rf"so it is \boxed{{{answer}}}.", gold)])
    return verdict.status


BOTH_WAYS = [(b, a, reason) for a, b, reason in cases.EQUAL]


@pytest.mark.parametrize(("gold", "answer", "reason"), cases.EQUAL + BOTH_WAYS + cases.EQUAL_IN_CONTEXT)
def test_equal_answers_are_correct(verifier: Verifier, gold: str, answer: str, reason: str) -> None:
    assert judged(verifier, gold, answer) == "correct", reason


DIFFERENT_WAYS = [(b, a, reason) for a, b, reason in cases.DIFFERENT]


@pytest.mark.parametrize(("gold", "answer", "reason"), cases.DIFFERENT + DIFFERENT_WAYS + cases.DIFFERENT_IN_CONTEXT)
def test_different_answers_are_incorrect(verifier: Verifier, gold: str, answer: str, reason: str) -> None:
    assert judged(verifier, gold, answer) == "incorrect", reason


KEYS = [
    ("025", "n:25", "an exact rational"),
    (r"-2\frac12", "n:-5/2", "in lowest terms"),
    (r"\sin 30^\circ", "n:1/2", "a closed form that is rational"),
    (r"2\sqrt{13}", "c:7.21110255093", "12 digits of one that is not"),
    ("6-5i", "c:6,-5i", "both parts of a complex number"),
    ("5\\%", "n:1/20", "percent means hundredths"),
    (r"15\mbox{ cm}^2", "n:15|cm^2", "a value and its unit"),
    (r"90^\circ", "n:90|degree", "degrees are a unit"),
    ("x = 5", "n:5", "an assignment is its value"),
    ("x > 2", "(n:2,oo)", "an inequality its interval"),
    ("3, 5, 3", "{n:3;n:3;n:5}", "a list has no order"),
    (r"\{3, 5, 3\}", "{n:3;n:5}", "a set no repeats either"),
    ("(3,4]", "(n:3,n:4]", "an interval has ends"),
    (r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix}", "M2[n:1,n:0,n:0,n:1]", "a matrix of two columns"),
    (r"(2,\infty) \cup (-\infty,1)", "U[(-oo,n:1);(n:2,oo)]", "a union has no order"),
    (r"\text{East}", "s:east", "a word"),
    ("2516_8", "s:2516_8", "a base"),
    ("x", "s:x", "a variable"),
    (r"\frac{2x}{2}", "s:x", "however it is written"),
]


@pytest.mark.parametrize(("answer", "key", "reason"), KEYS)
def test_canonical_keys(verifier: Verifier, answer: str, key: str, reason: str) -> None:
    assert verifier.key(answer) == key, reason


fast = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
ANSWERS = sorted({answer for table in (cases.EQUAL, cases.DIFFERENT) for row in table for answer in row[:2]})
answers = st.sampled_from(ANSWERS)
latex = st.lists(
    st.sampled_from(
        [*r"\{}[]()$%.,^_-+/0123459 x!=<|", *r"\frac \text{ \boxed{ \! ^\circ \sqrt \pm \begin{pmatrix} &".split()]
    )
).map("".join)


@fast
@given(st.text() | latex)
@example("\x00")
@example("\\")
@example("{,}")
@example("\u00b0")
def test_any_text_is_graded(verifier: Verifier, text: str) -> None:
    (verdict,) = verifier.grade([(rf"\boxed{{{text}}}", "0")])
    assert verdict.status in ("correct", "incorrect", "no_answer", "unparsable", "rejected")


@fast
@given(answers, answers)
def test_equality_is_symmetric_and_means_equal_keys(verifier: Verifier, a: str, b: str) -> None:
    forward, backward = judged(verifier, a, b), judged(verifier, b, a)
    assert forward == backward
    assert (forward == "correct") == (verifier.key(a) == verifier.key(b))


@fast
@given(st.sampled_from(cases.EQUAL), st.sampled_from(cases.EQUAL), answers)
def test_equality_is_transitive(verifier: Verifier, ab: tuple[str, ...], cd: tuple[str, ...], e: str) -> None:
    """If a = b, any other answer equals both or neither."""
    for other in (cd[0], cd[1], e):
        assert judged(verifier, ab[0], other) == judged(verifier, ab[1], other)


@fast
@given(st.sampled_from(cases.EQUAL_IN_CONTEXT + cases.DIFFERENT_IN_CONTEXT), answers, answers)
def test_for_one_gold_equal_keys_mean_equal_verdicts(verifier: Verifier, case: tuple[str, ...], a: str, b: str) -> None:
    """The gold decides about units, so this holds for one gold at a time, which is how majorities are counted."""
    gold = case[0]
    verdicts = list(verifier.grade((rf"\boxed{{{answer}}}", gold) for answer in (gold, case[1], a, b)))
    assert verdicts[0].status == "correct"
    assert all((v.status == "correct") == (v.key == verdicts[0].key) for v in verdicts)


TYPESETTING = [
    "${}$",
    r"\({}\)",
    " {} ",
    r"\displaystyle {}",
    "{{{}}}",
    r"\boxed{{{}}}",
    r"\, {} \;",
]


@fast
@given(answers, st.lists(st.sampled_from(TYPESETTING), min_size=1, max_size=4, unique=True))
def test_equality_is_blind_to_typesetting(verifier: Verifier, answer: str, layers: list[str]) -> None:
    assume(not re.search(r"\.\W*$|^(\*\*|=|\\approx)|\\\\$|th\}*$", answer))  # these count only at an end of the answer
    wrapped = answer
    for layer in layers:
        wrapped = layer.format(wrapped)
    assert judged(verifier, answer, wrapped) == judged(verifier, answer, f"{wrapped}.") == "correct"
    sized = re.sub(r"(?<!\\)[()]", lambda p: rf"\{'left' if p[0] == '(' else 'right'}{p[0]}", answer)
    assert judged(verifier, answer, sized.replace(r"\frac", r"\dfrac")) == "correct"


@fast
@given(st.fractions(max_denominator=10**6))
def test_a_rational_has_one_key(verifier: Verifier, value: Fraction) -> None:
    p, q = value.numerator, value.denominator
    forms = [f"{p}/{q}", rf"\frac{{{p}}}{{{q}}}", rf"\dfrac {{{3 * p}}} {{ {3 * q} }}", rf"\text{{{100 * p}/{q}}} \%"]
    assert {verifier.key(form) for form in forms} == {f"n:{value}"}


@fast
@given(st.integers())
def test_an_integer_has_one_key_and_its_neighbours_another(verifier: Verifier, n: int) -> None:
    grouped = f"{n:,}"
    forms = [str(n), f"{n}.0", grouped, grouped.replace(",", "{,}"), grouped.replace(",", r",\!"), f"{n:+}"]
    assert {verifier.key(form) for form in forms} == {f"n:{n}"}
    assert f"n:{n}" not in {verifier.key(str(n + 1)), verifier.key(f"{n - 1:,}")}


leaves = st.integers(0, 30).map(str) | st.sampled_from(["x", "y", r"\pi", r"\sqrt{2}", r"\frac{3}{7}", "2.5"])
expressions = st.recursive(
    leaves.map(lambda leaf: (leaf, leaf)),
    lambda inner: st.builds(
        lambda sign, a, b: (f"({a[0]}){sign}({b[0]})", f"{{{b[1]}}} {sign} \\left( {a[1]} \\right)"),
        st.sampled_from(["+", r"\cdot"]),
        inner,
        inner,
    ),
    max_leaves=6,
)


@settings(fast, max_examples=50)
@given(expressions)
def test_an_expression_equals_only_its_mirror_image(verifier: Verifier, pair: tuple[str, str]) -> None:
    assert judged(verifier, pair[0], pair[1]) == "correct"
    assert judged(verifier, pair[0], f"{pair[1]} + 1") == "incorrect"
    assert judged(verifier, f"({pair[0]})z", pair[1]) == ("correct" if verifier.key(pair[0]) == "n:0" else "incorrect")
