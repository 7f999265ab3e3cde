"""Verdicts a second, beside raw math-verify on the same answers in the same run."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ssb_core.verify import Verifier
from tests.bench.measure import Figures
from tests.support.golds import golds, rewritten

pytestmark = pytest.mark.bench
FAST, IN_SANDBOX = 2000, 300  # verdicts a second on 2 cores


def ours(pairs: Sequence[tuple[str, str]], warm: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """Verdicts per second once the sandbox runs, and how many of them were correct."""
    with Verifier() as verifier:
        list(verifier.grade(warm))
        started = time.perf_counter()
        correct = sum(v.status == "correct" for v in verifier.grade(pairs))
        return len(pairs) / (time.perf_counter() - started), correct


def raw(pairs: Sequence[tuple[str, str]]) -> tuple[float, int]:
    """The same by math-verify as its README has it, in this process, with its timeouts off."""
    from math_verify import parse, verify

    started = time.perf_counter()
    correct = 0
    for completion, gold in pairs:
        parsed = [parse(text, parsing_timeout=None) for text in (f"${gold}$", completion)]
        correct += verify(*parsed, timeout_seconds=None)
    return len(pairs) / (time.perf_counter() - started), correct


def rows(ours: tuple[float, int], n: int, raw: tuple[float, int], m: int) -> list[dict[str, Any]]:
    return [
        {"way": way, "verdicts/s": speed, "correct": correct, "of": asked, "ours over it": ours[0] / speed}
        for way, (speed, correct), asked in (("ours", ours, n), ("raw math-verify", raw, m))
    ]


def test_gsm8k_like_answers_take_the_fast_path(data: Path, figures: Figures) -> None:
    """Right answers half of the time, numbers from 1 to 9 off else; math-verify gets a part, it is slow."""
    draw = random.Random(0)
    found = golds(data / "gsm8k_train.jsonl", "hash")
    shifts = [draw.choice([0, draw.randrange(1, 10)]) for _ in found]
    pairs = [
        (rf"So it is \boxed{{{int(gold.replace(',', '')) + shift:,}}}.", gold)
        for gold, shift in zip(found, shifts, strict=True)
    ]
    fast, some = ours(pairs, []), pairs[:1000]
    figures("verdicts on GSM8K-like answers", rows(fast, len(pairs), raw(some), len(some)))
    assert fast[0] > FAST
    assert fast[1] == shifts.count(0)


def test_math500_golds_written_differently_go_through_the_sandbox(data: Path, figures: Figures) -> None:
    warm = [(rf"\boxed{{\sqrt{{{n}}}+1}}", "1") for n in range(200)]
    pairs = [
        (rf"So it is \boxed{{{written}}}.", gold)
        for gold in golds(data / "math500.jsonl", "boxed")
        if (written := rewritten(gold))
    ]
    found = ours(pairs, warm)
    figures("verdicts on MATH500 answers written differently", rows(found, len(pairs), raw(pairs), len(pairs)))
    assert found[0] > IN_SANDBOX
    assert found[1] == len(pairs)
