"""Numbers as text."""

from __future__ import annotations

from typing import Any

import pytest

from ssb_core.results import wording


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.21, "4.2 s"), (59.96, "1 min 00 s"), (185, "3 min 05 s"), (7800, "2 h 10 min")],
)
def test_a_duration_has_two_units_at_most(seconds: float, text: str) -> None:
    assert wording.duration(seconds) == text


def test_counts_and_sizes_are_words() -> None:
    assert [wording.count(n, "problem") for n in (0, 1, 2000)] == ["0 problems", "1 problem", "2,000 problems"]
    assert [wording.size(n) for n in (512, 1_300_000, 152e9)] == ["512 Bytes", "1.3 MB", "152 GB"]


@pytest.mark.parametrize(
    ("recipe", "text"),
    [
        ({"temperature": 0.0, "top_k": None}, "greedy decoding, at most 64 tokens"),
        ({"temperature": 0.8, "top_k": 50}, "temperature 0.8, top-k 50, at most 64 tokens, seed 7"),
        ({"temperature": 1.0, "top_k": None}, "temperature 1, whole vocabulary, at most 64 tokens, seed 7"),
    ],
)
def test_a_decoding_is_described_in_words(recipe: dict[str, Any], text: str) -> None:
    assert wording.decoding(recipe | {"max_new_tokens": 64, "seed": 7}) == text
