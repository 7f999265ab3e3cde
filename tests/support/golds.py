"""Reference answers of public problem sets, and the same answers written in another way."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ssb_core.records import AnswerForm
from ssb_core.verify.extract import gold_answer


def golds(path: Path, form: AnswerForm) -> list[str]:
    """The reference answers of a JSON-lines file. None may be missing."""
    with path.open(encoding="utf-8") as lines:  # not splitlines(): questions contain U+2028
        answers = [gold_answer(json.loads(line)["answer"], form) for line in lines]
    assert None not in answers
    return [gold for gold in answers if gold]


def rewritten(gold: str) -> str | None:
    """The same answer with every whole number n written as the sum (n-1)+1. None where that is not possible."""
    gold = re.sub(r"\\frac\s*(\d)\s*(\d)(?!\d)", r"\\frac{\1}{\2}", gold)
    if re.search(r"\d,(\\!)?\s*\d{3}|\d?\.\d|_|\\text|\\mbox|\\frac\s*\d|\d\s*\\frac|-?\d+\s*\\%", gold):
        return None
    changed = re.sub(r"\d+", lambda n: f"{{({int(n[0]) - 1}+1)}}", gold)
    return changed if changed != gold else None
