"""The artifact page ``ssb-0-plan``: the requests of the run, and their state in the store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from textwrap import shorten

from ssb_core.config import RunConfig
from ssb_core.report.markdown import code, escaped, table
from ssb_core.results.wording import count
from ssb_core.runs.plan import PlanRow
from ssb_core.stages import STAGES

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


def page(name: str, config: RunConfig, rows: Sequence[PlanRow], force: Collection[str], to_stage: str) -> Page:
    """The requests of the run `name` up to `to_stage`, each with its status and the reason for it.

    Requests of a stage in `force` have the status ``forced``.
    """
    rows = [row for row in rows if row.stage in STAGES[: STAGES.index(to_stage) + 1]]
    statuses = ["forced" if row.stage in force else row.status for row in rows]
    counts = ", ".join(f"{n} {status}" for status, n in Counter(statuses).items())
    cells = [
        {
            "request": escaped(row.label),
            "status": f"**{status}**" if status != "cached" else status,
            "why": escaped(shorten(row.why, REASON_WIDTH, placeholder=" …")) or MEANINGS[status],
        }
        for row, status in zip(rows, statuses, strict=True)
    ]
    body = f"# Plan\n\n{_goal(config)}\n\n{table(cells)}"
    return Page(KEY, f"{count(len(rows), 'request')} of {escaped(name)}: {counts}", body)


def _goal(config: RunConfig) -> str:
    benchmarks = ", ".join(b.name for b in config.evaluate.limited_benchmarks())
    return (
        f"{code(config.model.source)} writes {count(config.target_traces, 'taught trace')} for the problems of "
        f"{code(config.problems.source)}. A student is distilled from them, and both are evaluated on {benchmarks}."
    )
