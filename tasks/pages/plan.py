"""The artifact page ``ssb-0-plan``: the requests of the run, and their state in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from textwrap import shorten

from ssb_core.config import RunConfig
from ssb_core.report.markdown import code, escaped, table
from ssb_core.results import plan_wording
from ssb_core.results.wording import count
from ssb_core.runs.plan import PlanRow

from ..artifacts import Page

KEY = "ssb-0-plan"
REASON_WIDTH = 90
"""Characters of a reason. A reason may quote whole prompts, and each cell of the table is one line."""

MEANINGS = {
    "cached": "in the store",
    "partial": "shards in the store are kept",
    "missing": "not made yet",
    "stale": "made before with other settings",
    "waits": "known when the requests before it are done",
    "forced": "made again",
}


def page(name: str, config: RunConfig, rows: Sequence[PlanRow]) -> Page:
    """The requests of the run `name`, each with its status and the reason for it, and then the work that is left."""
    counts = ", ".join(f"{n} {status}" for status, n in Counter(row.status for row in rows).items())
    cells = [
        {
            "request": escaped(row.label),
            "status": f"**{row.status}**" if row.status != "cached" else row.status,
            "why": escaped(shorten(row.why, REASON_WIDTH, placeholder=" …")) or MEANINGS[row.status],
        }
        for row in rows
    ]
    body = "\n\n".join(("# Plan", _goal(config), table(cells), *_work_left(rows)))
    return Page(KEY, f"{count(len(rows), 'request')} of {escaped(name)}: {counts}", body)


def _work_left(rows: Sequence[PlanRow]) -> Iterator[str]:
    """The amounts of all requests that are not cached, and what they add up to."""
    left = [(row, plan_wording.cells(row)) for row in rows if row.status != "cached"]
    if left:
        yield "## Work that is left"
        amounts = ({n: escaped(text) for n, text in cells.items()} for _, cells in left)
        yield table([{"request": escaped(row.label)} | cells for (row, _), cells in zip(left, amounts, strict=True)])
        yield escaped(f"{plan_wording.LEGEND}.")
    yield from map(escaped, plan_wording.summary(rows))


def _goal(config: RunConfig) -> str:
    benchmarks = ", ".join(b.name for b in config.evaluate.limited_benchmarks())
    return (
        f"{code(config.model.source)} writes {count(config.target_traces, 'taught trace')} for the problems of "
        f"{code(config.problems.source)}. A student is distilled from them, and both are evaluated on {benchmarks}."
    )
