"""The final answer of a text: only an explicit marker counts."""

from __future__ import annotations

import pytest

from ssb_core.records import AnswerForm
from ssb_core.verify.extract import choice, final_answer, gold_answer

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
    (r"\boxed{B. 12 cm}", "B", "with its text"),
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
    (r"\boxed{(A) 12, (B) 13}", None, "with their texts"),
    (r"\boxed{A, a triangle}", "A", "an article is no second pick"),
    ("the answer is B", None, "prose is never scanned"),
    (r"<think>\boxed{A}</think> \boxed{B}", "B", "after the reasoning"),
]


@pytest.mark.parametrize(("text", "letter", "reason"), CHOICES)
def test_a_choice_is_boxed_or_the_whole_text(text: str, letter: str | None, reason: str) -> None:
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
