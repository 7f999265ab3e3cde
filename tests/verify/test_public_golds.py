"""The verifier on public problem sets: every gold equals itself, and near misses never do."""

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from ssb_core.verify import Verifier, unverifiable
from tests.support.golds import golds, rewritten

REVIEWED = Path(__file__).with_name("math500_equal_golds.jsonl")


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier() as shared:
        yield shared


def test_every_math500_and_aime_gold_is_read_and_equals_itself(verifier: Verifier, data: Path) -> None:
    found = golds(data / "math500.jsonl", "boxed") + golds(data / "aime24.jsonl", "exact")
    assert len(found) == 530
    assert {v.status for v in verifier.grade((rf"\boxed{{{gold}}}", gold) for gold in found)} == {"correct"}
    texts = {gold for gold in found if (verifier.key(gold) or "").startswith("s:")}
    assert not {t for t in texts if not re.fullmatch(r"\\text\{\(?\w+\)?\}|\d+_\{?\d\}?", t)}  # only words and bases


def test_math500_golds_written_differently_are_correct(verifier: Verifier, data: Path) -> None:
    pairs = [(written, gold) for gold in golds(data / "math500.jsonl", "boxed") if (written := rewritten(gold))]
    assert len(pairs) > 440
    graded = verifier.grade((rf"\boxed{{{written}}}", gold) for written, gold in pairs)
    assert [pair for pair, v in zip(pairs, graded, strict=True) if v.status != "correct"] == []


def test_all_math500_golds_that_are_judged_equal_have_been_reviewed(verifier: Verifier, data: Path) -> None:
    """All 124,750 pairs, both ways. A file has the pairs with different texts that are equal, with the reason."""
    found = golds(data / "math500.jsonl", "boxed")
    assert len(list(itertools.combinations(found, 2))) == 124_750
    pairs = list(itertools.permutations(sorted(set(found)), 2))
    verdicts = verifier.grade((rf"\boxed{{{answer}}}", gold) for gold, answer in pairs)
    equal = {tuple(sorted(pair)) for pair, v in zip(pairs, verdicts, strict=True) if v.status == "correct"}
    with REVIEWED.open(encoding="utf-8") as lines:
        reviewed = {tuple(sorted(row["golds"])) for row in map(json.loads, lines) if row["reason"]}
    assert equal == reviewed


def test_every_gsm8k_gold_is_a_number_and_off_by_one_is_wrong(data: Path) -> None:
    found = golds(data / "gsm8k_train.jsonl", "hash")
    assert len(found) == 7473
    assert not [gold for gold in found if unverifiable(gold)]
    values = [int(gold.replace(",", "")) for gold in found]
    with Verifier() as verifier:
        for change, status in ((0, "correct"), (1, "incorrect"), (-1, "incorrect")):
            answers = [(rf"\boxed{{{v + change}}}", gold) for v, gold in zip(values, found, strict=True)]
            assert {v.status for v in verifier.grade(answers)} == {status}
