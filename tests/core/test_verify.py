"""The verifier: what it reads, what it calls equal, and that no text can hurt it."""

import json
import os
import time
from fractions import Fraction
from itertools import islice, repeat
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ssb_core.records import Verdict
from ssb_core.verify import AnswerForm, Verifier
from ssb_core.verify.canonical import MAX_LENGTH, key
from ssb_core.verify.extract import final_answer, gold_answer

DATA = Path(os.environ.get("SSB_TEST_DATA") or Path(__file__).parents[2] / "../shared/data")
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no data folder; set SSB_TEST_DATA")

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


# ---------------------------------------------------------------- canonical keys

NUMBERS = [
    ("42", "42", "integer"),
    (" 42 ", "42", "spaces around"),
    ("-7", "-7", "negative"),
    ("\u22127", "-7", "Unicode minus"),
    ("- 7", "-7", "space after the sign"),
    ("+7", "7", "explicit plus"),
    ("-0", "0", "zero has no sign"),
    ("025", "25", "AIME pads with zeros"),
    ("000", "0", "only zeros"),
    ("25.", "25", "trailing period"),
    ("25.00", "25", "trailing zeros"),
    (".5", "1/2", "no leading zero"),
    ("0.5", "1/2", "decimals are exact rationals"),
    (".35625", "57/160", "long decimal"),
    ("0.1", "1/10", "no binary rounding"),
    ("7,425,000", "7425000", "thousands commas"),
    ("1,200.50", "2401/2", "commas and cents"),
    ("-1,200", "-1200", "negative with comma"),
    ("1{,}234", "1234", "braced comma"),
    (r"1\,234", "1234", "thin space"),
    ("1 234 567", "1234567", "plain spaces in groups of three"),
    (r"7\!,425", "7425", "negative space before the comma"),
    (r"10,\!080", "10080", "negative space after the comma"),
    (r"11,\! 111,\! 111,\! 100", "11111111100", "and spaces (MATH)"),
    (r"\frac12", "1/2", "no braces"),
    (r"\frac 59", "5/9", "space for braces"),
    (r"\frac1 2", "1/2", "space between"),
    (r"\frac9{19}", "9/19", "half braced"),
    (r"\frac{270}7", "270/7", "the other half"),
    (r"\frac{1}{2}", "1/2", "braces"),
    (r"\dfrac{2}{4}", "1/2", "lowest terms"),
    (r"\tfrac{6}{3}", "2", "a whole number"),
    (r"-\frac{35}{9}", "-35/9", "sign in front"),
    (r"\frac{-35}{9}", "-35/9", "sign above"),
    (r"\frac{35}{-9}", "-35/9", "sign below"),
    (r"\frac{1.5}{2}", "3/4", "decimal above"),
    (r"\frac{1,000}{3}", "1000/3", "commas above"),
    ("3/4", "3/4", "slash"),
    ("31 / 2", "31/2", "spaced slash"),
    (r"2\frac12", "5/2", "mixed number"),
    (r"137 \frac{1}{2}", "275/2", "mixed with a space"),
    (r"-2\frac12", "-5/2", "the sign covers both parts"),
    ("3 1/2", "7/2", "mixed in plain text"),
    (r"\$36", "36", "escaped dollar"),
    ("$36", "36", "plain dollar"),
    (r"\$32,\!348", "32348", "dollars and thousands"),
    (r"-\$18.90", "-189/10", "sign before the dollar"),
    ("\u20ac5", "5", "euro"),
    ("$$5$$", "5", "display dollars"),
    (r"\(5\)", "5", "inline math"),
    (r"90^\circ", "90", "degree sign"),
    (r"90^{\circ}", "90", "braced degree sign"),
    ("74\u00b0", "74", "Unicode degree sign"),
    (r"\frac{270}7\text{ degrees}", "270/7", "degrees in words"),
    (r"5\%", "1/20", "percent means hundredths"),
    ("12.5 %", "1/8", "unescaped, spaced"),
    (r"50\text{ percent}", "1/2", "percent in words"),
    (r"\text{7}", "7", "wrapped"),
    (r"\boxed{7}", "7", "boxed twice"),
    (r"\mathrm{\text{7}}", "7", "wrapped twice"),
    (r"\left7\right", "7", "delimiter commands are typesetting"),
]


@pytest.mark.parametrize(("answer", "value", "reason"), NUMBERS)
def test_numbers_are_exact(answer: str, value: str, reason: str) -> None:
    assert key(answer) == f"n:{value}", reason


SAME = [
    (r"\dfrac{\pi}{2}", r"\frac\pi2", "fraction commands and braces"),
    (r"\left( 3, \frac{\pi}{2} \right)", r"(3,\frac{\pi}{2})", "delimiters and spaces"),
    (r"3 \sqrt{5}", r"3\sqrt5", "braces around one digit"),
    (r"\sqrt{x}", r"\sqrt x", "braces around one letter"),
    (r"4210_{5}", "4210_5", "braced base"),
    (r"x^{2}+1", "x^2 + 1", "braced exponent"),
    (r"\text{east}", "east", "text wrapper"),
    (r"\mbox{ two words}", r"\text{two words}", "spaces within"),
    (r"$x = 5$.", "x=5", "dollars and trailing period"),
    (r"\[x\]", "x", "display math"),
    (r"1,\,-2", "1, -2", "spaced list"),
    (r"\{1, 2\}", r"\left\{1,2\right\}", "set"),
    (r"\begin{pmatrix} -2 \\ -14 \end{pmatrix}", r"\begin{pmatrix}-2\\-14\end{pmatrix}", "matrix rows survive"),
    ("15\\mbox{ cm}^2", r"15\text{ cm}^{2}", "units"),
]


@pytest.mark.parametrize(("a", "b", "reason"), SAME)
def test_typesetting_does_not_matter(a: str, b: str, reason: str) -> None:
    assert (key(a) or "").startswith("s:")
    assert key(a) == key(b), reason


DIFFERENT = [
    (r"5\%", "5", "percent"),
    ("2516_8", "2516", "base"),
    ("40_9", "40_8", "another base"),
    ("5 cm", "5 km", "units"),
    ("5 cm", "5", "a unit is not dropped"),
    ("ab", "ba", "no algebra"),
    ("5", "5,5", "a list"),
    ("3, 100", "3,100", "a spaced comma makes a list"),
    ("(1,234)", "(1{,}234)", "a pair is not a number"),
    ("0,5", "05", "a decimal comma is not dropped"),
    ("3{,}14", "314", "nor a braced one"),
    ("0,123", "123", "groups start with a digit other than 0"),
    ("12,34", "1234", "groups have three digits"),
    ("1 2", "12", "a space separates numbers"),
    ("1", "0=1", "an equation"),
    ("1/2^{60}", "1/2^{61}", "no rounding"),
    ("x^{23}", "x^{2}3", "braces that matter"),
    (r"\frac{1}{23}", r"\frac{1}{2}3", "braces that matter"),
    (r"3\mathrm{e}", "3", "a letter is not dropped"),
    (r"\sin 30^\circ", r"\sin 30", "degrees of an angle inside an expression"),
    ("0.333", "0.333...", "a recurring decimal is not cut"),
    ("1/0", "1", "no such number"),
    (r"2\frac72", "11/2", "an improper fraction makes no mixed number"),
    ("(3,4]", "(3,4)", "interval ends"),
    ("x", "X", "case"),
    ("\u0665", "5", "digits are ASCII"),
    ("10\u00b2", "102", "superscripts are not digits"),
    (r"\cot x", r"\cotx", "a command's name ends where it ends"),
    ("n:5", "5", "a string cannot pose as a number"),
]


@pytest.mark.parametrize(("a", "b", "reason"), DIFFERENT)
def test_different_answers_differ(a: str, b: str, reason: str) -> None:
    assert key(a) and key(b) and key(a) != key(b), reason


@pytest.mark.parametrize("answer", ["", " ", "$", ".", r"\text{}", "9" * (MAX_LENGTH + 1)])
def test_no_key(answer: str) -> None:
    assert key(answer) is None


# ---------------------------------------------------------------- verdicts


def test_every_status() -> None:
    completions = [r"\boxed{0.5}", r"\boxed{2}", "0.5", r"\boxed{}"]
    assert list(Verifier().grade(zip(completions, repeat(r"\frac12")))) == [
        Verdict("correct", "0.5", "n:1/2"),
        Verdict("incorrect", "2", "n:2"),
        Verdict("no_answer"),
        Verdict("unparsable", ""),
    ]


def test_grading_streams_in_order() -> None:
    endless = ((rf"\boxed{{{n}}}", "3") for n in iter(int, None) for n in range(10))
    with Verifier() as verifier:
        assert [v.status == "correct" for v in islice(verifier.grade(endless), 5)] == [False, False, False, True, False]


def test_a_gold_without_a_key_is_an_error_not_a_wrong_answer() -> None:
    with pytest.raises(ValueError, match="gold answer ''"):
        list(Verifier().grade([(r"\boxed{1}", "")]))


# ---------------------------------------------------------------- properties

latex = st.lists(
    st.sampled_from([*r"\{}[]()$%.,^_-+/0123459 x!", r"\frac", r"\text{", r"\boxed{", r"\!", r"^\circ"])
).map("".join)
rationals = st.fractions(max_denominator=10**6)


@settings(deadline=None)
@given(st.text() | latex)
@example("\x00")
@example("\\")
@example("{,}")
@example("\u00b0")
def test_any_text_is_graded(text: str) -> None:
    final_answer(text)
    (verdict,) = Verifier("exact").grade([(text, "0")])
    (boxed,) = Verifier().grade([(rf"\boxed{{{text}}}", "0")])
    assert {verdict.status, boxed.status} <= {"correct", "incorrect", "no_answer", "unparsable"}


@settings(deadline=None)
@given(st.text(max_size=50) | latex)
def test_an_answer_equals_itself_in_any_dress(answer: str) -> None:
    if (own := key(answer)) and not answer.endswith("\\"):
        assert key(f" ${answer}$ ") == own
        assert own == key(answer)


@settings(deadline=None)
@given(rationals)
def test_a_rational_has_one_key(value: Fraction) -> None:
    p, q = value.numerator, value.denominator
    forms = [f"{p}/{q}", rf"\frac{{{p}}}{{{q}}}", rf"\dfrac {{{3 * p}}} {{ {3 * q} }}", rf"\text{{{100 * p}/{q}}} \%"]
    assert {key(form) for form in forms} == {f"n:{value}"}


@settings(deadline=None)
@given(st.integers())
def test_an_integer_has_one_key_and_its_neighbours_another(n: int) -> None:
    grouped = f"{n:,}"
    forms = [str(n), f"{n}.0", grouped, grouped.replace(",", "{,}"), grouped.replace(",", r",\!"), rf"\${n}", f"{n:+}"]
    assert {key(form) for form in forms} == {f"n:{n}"}
    assert f"n:{n}" not in {key(str(n + 1)), key(f"{n - 1:,}")}


HOSTILE = [
    r"\boxed{5}" * 400,
    r"\boxed{" * 400 + "5" + "}" * 400,
    r"\boxed{" * 20_000,
    "{" * 20_000,
    "}" * 20_000,
    r"\boxed{" + "{" * 20_000 + "}" * 20_000,
    r"\boxed" + " " * 20_000,
    (r"\boxed" + " " * 50) * 400,
    r"\boxed{" + "9" * 20_000 + "}",
    r"\boxed{" + "(" * 400 + "1" + ")" * 400 + "}",
    r"\boxed{" + "{" * 400 + "1" + "}" * 400 + "}",
    r"\boxed{" + r"\frac{" * 140 + "}" * 140 + "}",
    r"\boxed{" + r"\text{" * 140 + "}" * 140 + "}",
    r"\boxed{" + "1/" * 450 + "1}",
    r"\boxed{" + "1 " * 450 + "1}",
    r"\boxed{1" + ",000" * 240 + ",00}",
    r"\boxed{" + "9" * 900 + r"\%}",
    r"\boxed{1E1000000}",
    r"\boxed{9^{9^{9^{9}}}}",
    r"\boxed{10000000000!}",
    r"\boxed{__import__('os').system('false')}",
    "\\boxed{\x00}",
    "\\" * 20_001,
    "\\boxed{,\\!" + " " * 900 + "}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: text[:16].encode("unicode_escape").decode())
def test_hostile_text_is_answered_at_once(text: str) -> None:
    started = time.process_time()
    (verdict,) = Verifier().grade([(text, "6")])
    assert verdict.status in {"incorrect", "no_answer", "unparsable"}
    assert time.process_time() - started < 0.2


# ---------------------------------------------------------------- real data


def _golds(file: str, form: AnswerForm) -> list[str]:
    with open(DATA / file, encoding="utf-8") as lines:  # not splitlines(): questions hold U+2028
        golds = [gold_answer(json.loads(line)["answer"], form) for line in lines]
    assert None not in golds
    return [gold for gold in golds if gold]


@needs_data
def test_every_gsm8k_gold_is_a_number_and_off_by_one_is_wrong() -> None:
    golds = _golds("gsm8k_train.jsonl", "hash")
    assert len(golds) == 7473
    values = [int(gold.replace(",", "")) for gold in golds]
    with Verifier() as verifier:
        right = verifier.grade((rf"\boxed{{{v}}}", gold) for v, gold in zip(values, golds, strict=True))
        wrong = verifier.grade((rf"\boxed{{{v + 1}}}", gold) for v, gold in zip(values, golds, strict=True))
        assert {v.status for v in right} == {"correct"}
        assert {v.status for v in wrong} == {"incorrect"}


@needs_data
def test_math500_and_aime_golds_verify_against_themselves() -> None:
    golds = _golds("math500.jsonl", "boxed") + _golds("aime24.jsonl", "exact")
    assert len(golds) == 530
    assert {v.status for v in Verifier().grade((rf"\boxed{{{gold}}}", gold) for gold in golds)} == {"correct"}
