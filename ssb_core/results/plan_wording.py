"""The amounts of a plan as text. Terminal and Prefect page both use these functions."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from ..runs.amounts import NOTHING, Amount, Amounts
from ..runs.forecast import ANSWERS_PER_SECOND, TOKENS_PER_SECOND
from ..runs.plan import PlanRow
from . import wording

MARKS = {"exact": "", "about": "~", "at most": "<", "at least": ">"}
LEGEND = "~ means about, < at most, > at least"
TIMES = ((1, 60, "s"), (60, 3600, "min"), (3600, 172_800, "h"), (86_400, math.inf, "days"))


def cells(row: PlanRow) -> dict[str, str]:
    """The amounts of a request by column, each with a mark for how certain it is; empty if there is nothing to do."""
    a = row.amounts
    texts = {
        "samples": (a.samples, _number(a.samples)),
        "tokens": (a.tokens, _number(a.tokens)),
        "time": (a.seconds, _time(a.seconds)),
        "disk": (a.bytes, _size(a.bytes)),
    }
    return {name: _marked(amount, text) for name, (amount, text) in texts.items()}


def summary(rows: Sequence[PlanRow]) -> Iterator[str]:
    """Sentences below a plan: the totals, and what the estimates come from."""
    todo = [row for row in rows if row.status != "cached"]
    if not todo:
        yield "Everything is in the store, so a run has nothing left to do."
        return
    total = sum((row.amounts for row in todo), NOTHING)
    parts = (
        _in_words(total.samples, f"{_number(total.samples)} samples"),
        _in_words(total.tokens, f"{_number(total.tokens)} tokens"),
        _in_words(total.seconds, _time(total.seconds)),
        _in_words(total.bytes, f"{_size(total.bytes)} of disk"),
    )
    yield f"In total: {', '.join(filter(None, parts))}."
    assumed = list(dict.fromkeys(row.stage for row in todo if row.amounts.assumed))
    if assumed:
        yield (
            f"The store has no earlier results of this model for {', '.join(assumed)}: their time assumes "
            f"{TOKENS_PER_SECOND:,} tokens/s and {ANSWERS_PER_SECOND} graded answers/s."
        )
    if any(not row.amounts.assumed for row in todo):
        yield (
            "Other estimates come from earlier results of this model in the store."
            if assumed
            else ("Estimates come from earlier results of this model in the store.")
        )
    if "at most" in {a.certainty for row in todo for a in (row.amounts.samples, row.amounts.tokens)}:
        yield "At most: each completion may take max_new_tokens, and each problem may give a trace."


def as_json(rows: Sequence[PlanRow]) -> dict[str, Any]:
    """A plan for programs. Amounts have a value (seconds, bytes) and how certain it is."""
    total = sum((row.amounts for row in rows), NOTHING)
    return {
        "requests": [
            {"stage": r.stage, "label": r.label, "round": r.round, "status": r.status, "why": r.why}
            | _amounts_as_json(r.amounts)
            for r in rows
        ],
        "total": _amounts_as_json(total),
        "assumed": {"tokens_per_second": TOKENS_PER_SECOND, "answers_per_second": ANSWERS_PER_SECOND}
        if total.assumed
        else None,
    }


def _amounts_as_json(amounts: Amounts) -> dict[str, Any]:
    names = ("samples", "tokens", "seconds", "bytes")
    figures = {n: getattr(amounts, n) for n in names}
    return {n: {"value": _rounded(a), "certainty": a.certainty} for n, a in figures.items()} | {
        "assumed": amounts.assumed
    }


def _rounded(amount: Amount) -> float:
    """Exact numbers as they are, and estimates with two digits, for they are no better than that."""
    if amount.certainty == "exact" or amount.value <= 0:
        return round(amount.value)
    rounded = round(amount.value, 1 - math.floor(math.log10(amount.value)))
    return int(rounded) if rounded >= 10 else rounded


def _number(amount: Amount) -> str:
    value = _rounded(amount)
    if amount.certainty == "exact" or value < 1000:
        return f"{value:,.0f}"
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:,.0f}"


def _time(amount: Amount) -> str:
    for seconds, limit, unit in TIMES:
        if amount.value < limit:
            number = _rounded(Amount(max(amount.value / seconds, 0.1), "about"))
            return f"{number:g} {unit}"
    raise AssertionError("the last limit is infinite")


def _size(amount: Amount) -> str:
    return wording.size(_rounded(amount))


def _marked(amount: Amount, text: str) -> str:
    if amount.value:
        return f"{MARKS[amount.certainty]}{text}"
    return "?" if amount.certainty == "at least" else ""


def _in_words(amount: Amount, text: str) -> str:
    if not amount.value:
        return ""
    return text if amount.certainty == "exact" else f"{amount.certainty} {text}"
