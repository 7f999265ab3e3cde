"""Arithmetic word problems for the embedded model: a chain of one to three (hard: four or five) steps.

A problem is a `Chain` (a start value and steps) written as a short story. A careful solution works through the chain.
With `slip` the solution contains one mistake of a hasty student, and the wrong value is carried forward. A hash of the
chain itself (numbers and operations, not words) decides whether a problem belongs to train, test or pre-training, so no
problem of one split is a reworded problem of another.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

DATA_VERSION = 1
Split = Literal["pretrain", "train", "test"]
_BUCKETS: dict[Split, range] = {"test": range(0, 1), "train": range(1, 3), "pretrain": range(3, 10)}

NAMES = {
    "She": "Mia Anna Emma Lily Zoe Nora Ruth Clara Ivy Ella".split(),
    "He": "Tom Ben Sam Max Leo Jack Omar Hugo Finn Noah".split(),
}
ITEMS = "apples books coins stamps cards shells marbles stickers eggs pens beads cookies".split()
GAINS = ("buys {b} more", "finds {b} more", "gets {b} as a gift")
LOSSES = ("gives away {b}", "loses {b}", "sells {b}")
HABIT = 0.8  # share of slips that are the common mistake, so that it survives low temperatures
TIMES = "ends up with {b} times as many"


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a chain: the new value is `value op operand`, and `words` describe it in the story."""

    op: Literal["+", "-", "*"]
    operand: int
    words: str


@dataclass(frozen=True, slots=True)
class Chain:
    """An arithmetic word problem."""

    name: str
    pronoun: str
    item: str
    start: int
    steps: tuple[Step, ...]

    @property
    def signature(self) -> str:
        """Numbers and operations without the story, e.g. ``12 + 7 * 3``."""
        return " ".join([str(self.start), *(f"{s.op} {s.operand}" for s in self.steps)])

    @property
    def split(self) -> Split:
        """The split this chain belongs to. The words of its story do not matter."""
        bucket = int.from_bytes(hashlib.sha256(self.signature.encode()).digest()[:4], "big") % 10
        return next(name for name, buckets in _BUCKETS.items() if bucket in buckets)

    @property
    def question(self) -> str:
        sentences = [f"{self.name} has {self.start} {self.item}."]
        for i, step in enumerate(self.steps):
            sentences.append(f"{self.pronoun if i == 0 else 'Then ' + self.pronoun.lower()} {step.words}.")
        return " ".join([*sentences, f"How many {self.item} does {self.name} have now?"])


def apply(op: str, a: int, b: int) -> int:
    """The value of `a op b`, where `op` is an operation of a step."""
    return {"+": a + b, "-": a - b, "*": a * b}[op]


def _step(rng: random.Random, value: int) -> Step:
    """A step from `value` that stays within 1..99."""
    choices: list[Literal["+", "-", "*"]] = []
    if value <= 90:
        choices += ["+", "+"]
    if value >= 6:
        choices += ["-", "-"]
    if 2 <= value <= 24:
        choices.append("*")
    op = rng.choice(choices)
    if op == "+":
        operand, words = rng.randint(2, min(30, 99 - value)), rng.choice(GAINS)
    elif op == "-":
        operand, words = rng.randint(2, min(30, value - 1)), rng.choice(LOSSES)
    else:
        operand, words = rng.randint(2, min(5, 99 // value)), TIMES
    return Step(op, operand, words.format(b=operand))


def draw(rng: random.Random, lengths: tuple[int, ...]) -> Chain:
    """A random chain. The number of its steps is drawn from `lengths`."""
    pronoun = rng.choice(sorted(NAMES))
    value = start = rng.randint(2, 60)
    steps = []
    for _ in range(rng.choice(lengths)):
        steps.append(_step(rng, value))
        value = apply(steps[-1].op, value, steps[-1].operand)
    return Chain(rng.choice(NAMES[pronoun]), pronoun, rng.choice(ITEMS), start, tuple(steps))


def stream(split: Split, seed: int, lengths: tuple[int, ...] = (1, 2, 3)) -> Iterator[Chain]:
    """Endless, seeded chains of one split. No question repeats."""
    rng = random.Random(f"{DATA_VERSION}/{split}/{seed}/{lengths}")
    seen: set[str] = set()
    while True:
        chain = draw(rng, lengths)
        if chain.split == split and chain.question not in seen:
            seen.add(chain.question)
            yield chain


def solution(chain: Chain, slip: random.Random | None = None) -> str:
    """The worked solution of `chain`, ending in ``\\boxed{}``. If `slip` is given, it draws one wrong step."""
    at = _slip_at(slip, len(chain.steps)) if slip else None
    value = chain.start
    lines = [f"{chain.name} starts with {value} {chain.item}."]
    for i, step in enumerate(chain.steps):
        op: str = step.op
        result = apply(op, value, step.operand)
        if slip and i == at:
            op, result = _slip(slip, step, value)
        lines.append(f"{chain.pronoun} {step.words}: {value} {op} {step.operand} = {result}.")
        value = result
    return "\n".join([*lines, f"The final answer is \\boxed{{{value}}}."])


def _slip_at(rng: random.Random, steps: int) -> int:
    """The index of the wrong step: mostly the first, where haste begins."""
    return 0 if rng.random() < HABIT else rng.randrange(steps)


def _slip(rng: random.Random, step: Step, value: int) -> tuple[str, int]:
    """The operation and result that a hasty student writes: mostly the wrong operation, else a slip of the pen."""
    right = apply(step.op, value, step.operand)
    other = {"+": "-", "-": "+", "*": "+"}[step.op]
    wrong = apply(other, value, step.operand)
    if rng.random() < HABIT and 0 <= wrong != right:
        return other, wrong
    return step.op, rng.choice([r for r in (right - 10, right - 1, right + 1, right + 10) if r >= 0])
