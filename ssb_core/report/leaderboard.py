"""Results of several runs in one table: the latest run first, then the best of the earlier ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from ..errors import ConfigError
from ..results import queries
from ..runs import Run
from ..runs.run import finished_runs
from .header import finished_at
from .tables import results_table

EARLIER = 30  # rows
COLUMNS = ("model", "benchmark", "accuracy", "95% interval", "vs base")


@dataclass(frozen=True, slots=True)
class Place:
    """One model of one run on one benchmark: the values it is ranked by, and its row."""

    benchmark: str
    accuracy: float
    row: dict[str, str]


def rows(run: Run) -> list[dict[str, str]]:
    """A row for each model of `run` on each benchmark, then the best rows of earlier runs of its preset.

    Earlier rows are grouped by benchmark and ordered by accuracy. Benchmarks that `run` does not have are left out.
    """
    order = list(run.load_summary()["benchmarks"])
    earlier = [place for other in _other_runs(run) for place in _places(other) if place.benchmark in order]
    earlier.sort(key=lambda place: (order.index(place.benchmark), -place.accuracy))
    return [place.row for place in (*_places(run), *earlier[:EARLIER])]


def _other_runs(run: Run) -> Iterator[Run]:
    """The other finished runs of the same preset, without those that can no longer be read."""
    folder, preset = run.directory.parent, run.load_summary()["preset"]
    for name in sorted(r.name for r in finished_runs(folder, run.store)):
        if name != run.name:
            try:
                other = Run.named(folder, name, run.store)
                queries.load_config(other)
            except (ConfigError, OSError, ValueError):
                continue
            if other.load_summary()["preset"] == preset:
                yield other


def _places(run: Run) -> Iterator[Place]:
    config = queries.load_config(run)
    about = {
        "base": PurePath(config.model.source).name,
        "data": PurePath(config.problems.source).name,
        "when (UTC)": finished_at(run),
    }
    for name, benchmark in run.load_summary()["benchmarks"].items():
        for row in results_table({"benchmarks": {name: benchmark}}):
            accuracy = benchmark["models"][row["model"]]["accuracy"]
            cells = {column: row[column] for column in COLUMNS}
            yield Place(name, accuracy, {"run": run.name} | cells | about)
