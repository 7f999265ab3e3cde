"""Are benchmark problems also among the training problems? A match of normalised n-grams of the questions.

A training problem contaminates a benchmark problem if their questions share a run of `N` = 13 words **and** contain
the same numbers in the same order, or if the training question contains the whole benchmark question. Questions of
fewer than `N` words must be equal.

Thirteen words is the usual window: GPT-3 (Brown et al. 2020, appendix C) and Qwen2.5-Math (Yang et al. 2024, for GSM8K
and MATH among others) use it; shorter windows match by chance. By itself the window confuses problems that were made
from one template, so published checks add a second condition (Qwen2.5: the common part must be 60% of the shorter
text). Ours is the numbers: a word problem with other numbers is another problem, however much of its story is the same.

The check cannot see a problem in other words, in another language, or with its numbers spelt out; nor what the base
model was trained on before we got it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

from .. import problems
from ..config import ProblemsConfig
from ..records import Problem

N = 13

_LAYOUT = re.compile(  # LaTeX that changes only spacing or size
    r"\\(?:[,;:!>]|(?:quad|qquad|left|right|displaystyle|textstyle|limits|bigg?)(?![a-z]))|\{,\}|~"
)
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,)(?=\d{3}(?!\d))")
_FRACTION = re.compile(r"\\[dtc]frac(?![a-z])")
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
_PIECE = re.compile(r"\S{1,256}")  # normalising n combining marks in a row takes n^2 steps
_TOKEN = re.compile(r"\d+(?:\.\d+)?|\.\d+|[^\W\d_]+|[-+*/^=<>|]")


@dataclass(frozen=True, slots=True)
class ContaminatedProblem:
    """A benchmark problem, and the first training problem that contaminates it."""

    benchmark_id: str
    training_id: str


@lru_cache(maxsize=32)
def between(training: ProblemsConfig, benchmark: ProblemsConfig) -> tuple[ContaminatedProblem, ...]:
    """The contaminated problems of a benchmark, in the benchmark's order.

    Raises:
        ConfigError: one of the sets cannot be read.
    """
    return find(problems.load_problems(training), problems.load_problems(benchmark))


def find(training: Iterable[Problem], benchmark: Sequence[Problem]) -> tuple[ContaminatedProblem, ...]:
    """The problems of `benchmark` that a problem of `training` contaminates, in the benchmark's order."""
    questions = [words(p.question) for p in benchmark]
    numbers = [_numbers(q) for q in questions]
    runs = [frozenset(_runs(q)) for q in questions]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, runs_of_problem in enumerate(runs):
        for run in runs_of_problem:
            holders[run].append(i)
    first: dict[int, str] = {}
    for problem in training:
        question = words(problem.question)
        shared = [run for run in _runs(question) if run in holders]
        for i in set(chain.from_iterable(holders[run] for run in shared)) - first.keys():
            if numbers[i] == _numbers(question) or runs[i] <= set(shared):
                first[i] = problem.id
    return tuple(ContaminatedProblem(benchmark[i].id, first[i]) for i in sorted(first))


def words(question: str) -> tuple[str, ...]:
    """A question's words, numbers and operators, without case, punctuation, spacing and LaTeX layout."""
    text = _PIECE.sub(lambda piece: unicodedata.normalize("NFKC", piece[0]), question).lower()
    text = _FRACTION.sub(r"\\frac", _LAYOUT.sub(" ", _THOUSANDS.sub("", text)))
    return tuple(_TOKEN.findall(_HYPHEN.sub(" ", text)))


def _runs(question: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    """Every `N` words in a row; a shorter question is one run."""
    return zip(*(question[i:] for i in range(N)), strict=False) if len(question) >= N else [question]


def _numbers(question: Iterable[str]) -> tuple[str, ...]:
    return tuple(w for w in question if w[-1].isdigit())
