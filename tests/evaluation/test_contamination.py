"""Contamination: the same problem is found however it is typeset, and another number is another problem."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ssb_core import problems
from ssb_core.config import ProblemsConfig
from ssb_core.evaluation import contamination
from ssb_core.records import Problem

BELLA = (
    "Bella bought stamps at the post office. Bella bought 11 snowflake stamps. She bought 9 more truck stamps than "
    "snowflake stamps. How many stamps did Bella buy in all?"
)


def contaminated(training: str, benchmark: str) -> bool:
    return bool(contamination.find([Problem("t", training, "1")], [Problem("b", benchmark, "1")]))


@pytest.mark.parametrize(
    ("training", "benchmark"),
    [
        (BELLA, BELLA.upper().replace(".", " ;\n").replace("more truck", "more, truck")),
        (BELLA, BELLA.replace("Bella bought stamps at the post office. ", "")),
        (BELLA, BELLA.replace("How many stamps did Bella buy in all?", "In all, how many did she buy?")),
        (f"Problem 7. {BELLA} Show your work in 3 steps.", BELLA),
        ("What is 1,000 + 2?", "what is $1{,}000+2$"),
        (r"Compute $\dfrac{1}{2} + x\,y$.", r"compute \(\displaystyle \frac{1}{2}+x y\)"),
        ("A well-known sum: 2 + 3?", "a well known sum 2+3"),
    ],
)
def test_the_same_question_set_otherwise_is_found(training: str, benchmark: str) -> None:
    assert contaminated(training, benchmark)


@pytest.mark.parametrize(
    ("training", "benchmark"),
    [
        (BELLA, BELLA.replace("11", "12")),
        (BELLA, BELLA.replace("11", "1.1")),
        (BELLA.replace("11", "1"), BELLA),
        (BELLA, "Bella bought 11 stamps and gave 9 of them away. How many stamps does Bella have now?"),
        ("What is 2 + 3?", "What is 2 - 3?"),
        ("What is 2 + 3?", "What is 2 + 3, and why?"),
        ("", BELLA),
    ],
)
def test_another_question_is_not(training: str, benchmark: str) -> None:
    assert not contaminated(training, benchmark)


def test_each_contaminated_problem_is_named_once_with_the_first_it_stands_there_as() -> None:
    training = [Problem(f"t{i}", q, "1") for i, q in enumerate(["What is 1?", BELLA, BELLA])]
    benchmark = [Problem(f"b{i}", q, "1") for i, q in enumerate([BELLA, "What is 2?", "What is 1?"])]
    assert contamination.find(training, benchmark) == (
        contamination.ContaminatedProblem("b0", "t1"),
        contamination.ContaminatedProblem("b2", "t0"),
    )


@pytest.mark.parametrize("benchmark", ["nano-test", "nano-hard"])
def test_nanos_splits_share_their_template_and_no_problem(benchmark: str) -> None:
    train, test = ProblemsConfig(source="nano-train"), ProblemsConfig(source=benchmark)
    assert contamination.between(train, test) == ()
    assert len(contamination.between(test, test)) == len(problems.load_problems(test))


def test_public_sets_are_compared_in_seconds_and_only_a_planted_problem_is_found(data: Path) -> None:
    train = problems.load_problems(ProblemsConfig(source=str(data / "gsm8k_train.jsonl"), form="hash"))
    test = problems.load_problems(ProblemsConfig(source=str(data / "gsm8k_test.jsonl"), form="hash"))
    math = problems.load_problems(
        ProblemsConfig(source=str(data / "math500.jsonl"), question="problem", id="unique_id")
    )
    assert contamination.find(train, math) == ()
    started = time.process_time()
    assert contamination.find([*train, test[7]], test) == (contamination.ContaminatedProblem(test[7].id, test[7].id),)
    assert time.process_time() - started < 5  # 0.4 s on a quiet machine
