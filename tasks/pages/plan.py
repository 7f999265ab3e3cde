"""How a run's plan is shown: what it will do and what is there already, before any work."""

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
ROOM = 90
"""Characters for why a request is stale, which may be whole prompts: a table's cells are one line each."""

MEANING = {
    "cached": "in the store",
    "partial": "shards in the store are kept",
    "missing": "to be made",
    "stale": "made before, but differently",
    "waits": "known once what comes before is done",
    "forced": "to be made again",
}


def page(name: str, config: RunConfig, rows: Sequence[PlanRow], force: Collection[str], to_stage: str) -> Page:
    """The requests of a run named `name`, each with its status in the store and why."""
    asked = [row for row in rows if row.stage in STAGES[: STAGES.index(to_stage) + 1]]
    statuses = ["forced" if row.stage in force else row.status for row in asked]
    counts = ", ".join(f"{n} {status}" for status, n in Counter(statuses).items())
    lines = [
        {
            "request": escaped(row.label),
            "status": f"**{status}**" if status != "cached" else status,
            "why": escaped(shorten(row.why, ROOM, placeholder=" …")) or MEANING[status],
        }
        for row, status in zip(asked, statuses, strict=True)
    ]
    body = f"# Plan\n\n{_asked(config)}\n\n{table(lines)}"
    return Page(KEY, f"{count(len(asked), 'request')} of {escaped(name)}: {counts}", body)


def _asked(config: RunConfig) -> str:
    benchmarks = ", ".join(b.name for b in config.evaluate.limited_benchmarks())
    return (
        f"{count(config.target_traces, 'trace')} to be taught by {code(config.model.source)} from the problems of "
        f"{code(config.problems.source)}, a student distilled from them, both evaluated on {benchmarks}."
    )
