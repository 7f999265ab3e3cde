"""Do benchmark problems stand among the training problems? A normalised n-gram match of the questions.

A benchmark problem is contaminated by a training problem if their questions share a run of `N` = 13 words **and** name
the same numbers in the same order, or if the training question holds the whole benchmark question. Questions of fewer
than `N` words must be equal.

Thirteen words is the usual window: GPT-3 (Brown et al. 2020, appendix C) and Qwen2.5-Math (Yang et al. 2024), for
GSM8K and MATH among others, take it; shorter ones meet by chance. Alone it takes problems from one template for each
other, which published checks answer with a second condition (Qwen2.5: the common part must be 60% of the shorter text).
Ours is the numbers: in a word problem another number is another problem, however much of the story is the same.

What it cannot see: a problem told in other words, another language, or with its numbers spelt out; and what the base
model read before we had it.
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

_LAYOUT = re.compile(  # LaTeX that only spaces, sizes or fences what it stands at
    r"\\(?:[,;:!>]|(?:quad|qquad|left|right|displaystyle|textstyle|limits|bigg?)(?![a-z]))|\{,\}|~"
)
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,)(?=\d{3}(?!\d))")
_FRACTION = re.compile(r"\\[dtc]frac(?![a-z])")
_HYPHEN = re.compile(r"(?<=[^\W\d_])-(?=[^\W\d_])")
_PIECE = re.compile(r"\S{1,256}")  # the normal form of n marks in a row takes n^2 steps
_TOKEN = re.compile(r"\d+(?:\.\d+)?|\.\d+|[^\W\d_]+|[-+*/^=<>|]")


@dataclass(frozen=True, slots=True)
class Overlap:
    """A benchmark problem and the first training problem that it is contaminated by."""

    benchmark_id: str
    training_id: str


@lru_cache(maxsize=32)
def between(training: ProblemsConfig, benchmark: ProblemsConfig) -> tuple[Overlap, ...]:
    """The contaminated problems of a benchmark, in its order.

    Raises:
        ConfigError: one of the sets cannot be read.
    """
    return find(problems.load_problems(training), problems.load_problems(benchmark))


def find(training: Iterable[Problem], benchmark: Sequence[Problem]) -> tuple[Overlap, ...]:
    """The problems of `benchmark` that stand among those of `training`, in the benchmark's order."""
    asked = [words(p.question) for p in benchmark]
    numbers = [_numbers(w) for w in asked]
    runs = [frozenset(_runs(w)) for w in asked]
    holders: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, found in enumerate(runs):
        for run in found:
            holders[run].append(i)
    first: dict[int, str] = {}
    for problem in training:
        told = words(problem.question)
        shared = [run for run in _runs(told) if run in holders]
        for i in set(chain.from_iterable(holders[run] for run in shared)) - first.keys():
            if numbers[i] == _numbers(told) or runs[i] <= set(shared):
                first[i] = problem.id
    return tuple(Overlap(benchmark[i].id, first[i]) for i in sorted(first))


def words(question: str) -> tuple[str, ...]:
    """A question as what counts of it: words, numbers and operators; no case, punctuation, spacing or LaTeX layout."""
    text = _PIECE.sub(lambda piece: unicodedata.normalize("NFKC", piece[0]), question).lower()
    text = _FRACTION.sub(r"\\frac", _LAYOUT.sub(" ", _THOUSANDS.sub("", text)))
    return tuple(_TOKEN.findall(_HYPHEN.sub(" ", text)))


def _runs(told: tuple[str, ...]) -> Iterable[tuple[str, ...]]:
    """Every `N` words in a row; a shorter question is one run of its own."""
    return zip(*(told[i:] for i in range(N)), strict=False) if len(told) >= N else [told]


def _numbers(told: Iterable[str]) -> tuple[str, ...]:
    return tuple(w for w in told if w[-1].isdigit())
