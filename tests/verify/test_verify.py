"""The verifier: what it reads, what it calls equal, and that its equality is one."""

import re
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, repeat

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from ssb_core.records import AnswerForm
from ssb_core.verify import Verifier, unverifiable, versions
from ssb_core.verify.extract import choice, final_answer, gold_answer
from ssb_core.verify.latex import MAX_LENGTH

from . import cases


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier() as shared:
        yield shared


def judged(verifier: Verifier, gold: str, answer: str) -> str:
    """The status of `answer` in a box."""
    (verdict,) = verifier.grade([(rf"so it is \boxed{{{answer}}}.", gold)])
    return verdict.status


# ---------------------------------------------------------------- extraction

BOXES = [
    (r"so \boxed{7}.", "7", "plain"),
    (r"\fbox{7}", "7", "fbox counts"),
    (r"\boxed {7}", "7", "a space before the brace"),
    ("\\boxed\n{ 7 }", "7", "stripped"),
    (r"\boxed{1} or \boxed{2}", "2", "the last box"),
    (r"\boxed{1} or \boxed{2", "1", "an unfinished box does not count"),
    (r"\boxed{1 or \boxed{2}", "2", "nor does it hide a finished one"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}", "nested braces"),
    (r"\boxed{\boxed{5}}", r"\boxed{5}", "of nested boxes the outermost"),
    (r"\boxed{\{1,2\}}", r"\{1,2\}", "escaped braces are content"),
    (r"\boxed{\{1,2}", r"\{1,2", "an escaped brace opens nothing"),
    (r"{{ \boxed{7}", "7", "open braces before the box"),
    (r"}} \boxed{7} }}", "7", "stray closing braces"),
    (r"a \\\boxed{7}", "7", "after a line break"),
    (r"\boxed{}", "", "an empty box is an empty answer"),
    (r"\boxed{1} so x = 7", "1", "prose after the box"),
    (r"<think>\boxed{1}</think> \boxed{2}", "2", "after the reasoning"),
    (r"<think>\boxed{1}</think> it is 1", None, "a box in the reasoning is not the answer"),
    (r"<think>\boxed{1}", "1", "reasoning never closed"),
    ("so x = 7", None, "prose is never scanned"),
    ("the answer is 7. #### 7", None, "another form's marker"),
    (r"\boxed 7", None, "no braces"),
    (r"\boxed{7", None, "cut off"),
    ("boxed{7}", None, "no command"),
    ("", None, "nothing"),
]


@pytest.mark.parametrize(("text", "answer", "reason"), BOXES)
def test_final_answer_is_the_last_balanced_box(text: str, answer: str | None, reason: str) -> None:
    assert final_answer(text) == answer, reason


def test_completions_in_other_forms() -> None:
    assert final_answer("#### 4\n#### 42 \n\nHope this helps", "hash") == "42"
    assert final_answer(r"\boxed{42}", "hash") is None
    assert final_answer("<think>hm</think> 42\n", "exact") == "42"


CHOICES = [
    (r"so it is \boxed{B}", "B", "boxed"),
    (r"\boxed{\text{(B)}}", "B", "as MATH writes it"),
    (r"\boxed{b}", "B", "small"),
    (r"\boxed{B. 12 cm}", "B", "with what it says"),
    (r"\boxed{(B) 12 cm}", "B", "the same in parentheses"),
    ("(C)", "C", "nothing but a choice"),
    ("**D**", "D", "the same in bold"),
    ("D, since it is odd.", "D", "with a reason"),
    ("Dear me", None, "not a choice at all"),
    (r"\boxed{12}", None, "a value is no choice"),
    (r"\boxed{Bob}", None, "nor is a name"),
    (r"\boxed{F}", None, "five choices"),
    (r"\boxed{A, B}", None, "two picks are none"),
    (r"\boxed{\textbf{(A)} or \textbf{(B)}}", None, "in any dress"),
    (r"\boxed{(A)(B)(C)}", None, "or all of them"),
    (r"\boxed{(A) 12, (B) 13}", None, "with what they say"),
    (r"\boxed{A, a triangle}", "A", "an article is no second pick"),
    ("the answer is B", None, "prose is never scanned"),
    (r"<think>\boxed{A}</think> \boxed{B}", "B", "after the reasoning"),
]


@pytest.mark.parametrize(("text", "letter", "reason"), CHOICES)
def test_a_choice_is_boxed_or_all_there_is(text: str, letter: str | None, reason: str) -> None:
    answer = final_answer(text, "choice")
    assert (choice(answer) if answer is not None else None) == letter, reason


GOLDS = [
    ("reasoning\n#### 1,200", "hash", "1,200", "GSM8K"),
    ("#### 1\n#### 2", "hash", "2", "the last marker"),
    ("72", "hash", None, "no marker"),
    ("reasoning ####  ", "hash", None, "empty after the marker"),
    (r"so \boxed{\frac12}.", "boxed", r"\frac12", "MATH's solution"),
    (r" \frac{14}{3} ", "boxed", r"\frac{14}{3}", "MATH's answer is bare"),
    (r"\boxed{}", "boxed", None, "empty box"),
    (" 025\n", "exact", "025", "AIME"),
    (" ", "exact", None, "blank"),
    ("", "boxed", None, "empty"),
]


@pytest.mark.parametrize(("raw", "form", "answer", "reason"), GOLDS)
def test_gold_answer(raw: str, form: AnswerForm, answer: str | None, reason: str) -> None:
    assert gold_answer(raw, form) == answer, reason


# ---------------------------------------------------------------- equal and different


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


# ---------------------------------------------------------------- verdicts


def test_every_status_that_needs_no_accident(verifier: Verifier) -> None:
    completions = [r"\boxed{0.5}", r"\boxed{2}", "0.5", r"\boxed{}", rf"\boxed{{{'9' * 500}}}"]
    found = [(v.status, v.answer, v.key) for v in verifier.grade(zip(completions, repeat(r"\frac12")))]
    assert found == [
        ("correct", "0.5", "n:1/2"),
        ("incorrect", "2", "n:2"),
        ("no_answer", None, None),
        ("unparsable", "", None),
        ("rejected", "9" * 500, None),
    ]


def test_verdicts_carry_their_seconds_and_versions_are_known(verifier: Verifier) -> None:
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
        found = [v.status for v in verifier.grade(zip(completions, repeat("(B)")))]
    assert found == ["correct", "correct", "incorrect", "unparsable", "no_answer"]


GOLDS_TO_EXCLUDE = [
    ("", "boxed", "it is empty"),
    (r"\text{}", "boxed", "it is empty"),
    (".", "boxed", "it is empty"),
    ("9" * (MAX_LENGTH + 1), "boxed", "longer than 1000 characters"),
    ("10^{100000}", "boxed", "an exponent of more than 4 digits"),
    ("12", "choice", "'12' is not a choice from A to E"),
]


@pytest.mark.parametrize(("gold", "form", "reason"), GOLDS_TO_EXCLUDE)
def test_a_gold_nothing_can_be_verified_against_is_an_error_not_a_wrong_answer(
    gold: str, form: AnswerForm, reason: str
) -> None:
    assert unverifiable(gold, form) == reason
    with pytest.raises(ValueError, match="exclude its problem"):
        list(Verifier(form).grade([(r"\boxed{1}", gold)]))


# ---------------------------------------------------------------- properties

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
    there, back = judged(verifier, a, b), judged(verifier, b, a)
    assert there == back
    assert (there == "correct") == (verifier.key(a) == verifier.key(b))


@fast
@given(st.sampled_from(cases.EQUAL), st.sampled_from(cases.EQUAL), answers)
def test_equality_is_transitive(verifier: Verifier, ab: tuple[str, ...], cd: tuple[str, ...], e: str) -> None:
    """From a = b follows that any other answer equals both or neither."""
    for other in (cd[0], cd[1], e):
        assert judged(verifier, ab[0], other) == judged(verifier, ab[1], other)


@fast
@given(st.sampled_from(cases.EQUAL_IN_CONTEXT + cases.DIFFERENT_IN_CONTEXT), answers, answers)
def test_beside_one_gold_equal_keys_mean_judged_equal(
    verifier: Verifier, case: tuple[str, ...], a: str, b: str
) -> None:
    """Units are read beside the gold, so this holds for one gold at a time, as majorities are counted."""
    gold = case[0]
    verdicts = list(verifier.grade((rf"\boxed{{{answer}}}", gold) for answer in (gold, case[1], a, b)))
    assert verdicts[0].status == "correct"
    assert all((v.status == "correct") == (v.key == verdicts[0].key) for v in verdicts)


DRESS = [
    "${}$",
    r"\({}\)",
    " {} ",
    r"\displaystyle {}",
    "{{{}}}",
    r"\boxed{{{}}}",
    r"\, {} \;",
]


@fast
@given(answers, st.lists(st.sampled_from(DRESS), min_size=1, max_size=4, unique=True))
def test_equality_is_blind_to_typesetting(verifier: Verifier, answer: str, dress: list[str]) -> None:
    assume(not re.search(r"\.\W*$|^(\*\*|=|\\approx)|\\\\$|th\}*$", answer))  # what counts only at an end of the answer
    dressed = answer
    for layer in dress:
        dressed = layer.format(dressed)
    assert judged(verifier, answer, dressed) == judged(verifier, answer, f"{dressed}.") == "correct"
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
def test_an_expression_equals_its_mirror_image_and_nothing_else(verifier: Verifier, pair: tuple[str, str]) -> None:
    assert judged(verifier, pair[0], pair[1]) == "correct"
    assert judged(verifier, pair[0], f"{pair[1]} + 1") == "incorrect"
    assert judged(verifier, f"({pair[0]})z", pair[1]) == ("correct" if verifier.key(pair[0]) == "n:0" else "incorrect")
