"""The state of runs and of the store, from file names and small files alone: no shard is opened."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError
from ..store import UNREADABLE, ListedFile, Store, lock
from ..store.audit import files_by_recipe
from ..store.layout import is_manifest, is_remote_lock, is_table
from . import Run

State = Literal["finished", "at work", "unfinished", "unreadable"]


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run: its state, when the state was last noted (Unix time in seconds), and a line about it."""

    name: str
    state: State
    when: float
    detail: str


@dataclass(frozen=True, slots=True)
class StageStatus:
    """The content of the store for one stage. `at_work` names the processes that write there now."""

    stage: str
    recipes: int
    requests: int
    shards: int
    files: int
    bytes: int
    at_work: str


def runs(folder: Path, store: Store) -> list[RunStatus]:
    """Every run in a folder, the latest one last."""
    if not folder.is_dir():
        return []
    statuses = [_run(Run(d, store)) for d in folder.iterdir() if (d / "config.yaml").is_file()]
    return sorted(statuses, key=lambda status: status.when)


def stages(store: Store) -> Iterator[StageStatus]:
    """Every stage that has files in the store, by name."""
    listed = files_by_recipe(store)
    for stage in sorted({stage for stage, _ in listed}):
        own = {recipe: files for (s, recipe), files in listed.items() if s == stage}
        every = [(name, file) for files in own.values() for name, file in files.items()]
        holders = [_holder(store, (stage, recipe), files) for recipe, files in own.items()]
        yield StageStatus(
            stage,
            len(own),
            sum(is_manifest(name) for name, _ in every),
            sum(is_table(name) for name, _ in every),
            len(every),
            sum(file.bytes for _, file in every),
            ", ".join(h for h in holders if h),
        )


def _holder(store: Store, place: tuple[str, str], files: dict[str, ListedFile]) -> str:
    """The process that writes to a recipe now; for a store at a URL, also one on another machine."""
    if holder := store.holder(*place):
        return str(holder)
    held = [file for name, file in files.items() if is_remote_lock(name) and file.bytes]
    return "another machine" if any(time.time() - file.modified < lock.SILENCE for file in held) else ""


def _run(run: Run) -> RunStatus:
    config, summary, begun = (run.directory / name for name in ("config.yaml", "summary.json", "begun.json"))
    try:
        if summary.exists():
            return RunStatus(run.name, "finished", summary.stat().st_mtime, _results(json.loads(summary.read_bytes())))
        if not begun.exists():
            return RunStatus(run.name, "unfinished", config.stat().st_mtime, "nothing begun yet")
        last = run.load_begun()[-1]
        holder = run.store.holder(last.stage, last.recipe)
        shards = len(list(run.store.layout.recipe(last.stage, last.recipe).shards.glob("*.parquet")))
        so_far = f", {shards:,} shards of its recipe in the store" if shards else ""
        state: State = "at work" if holder else "unfinished"
        return RunStatus(run.name, state, last.since, f"{last.label}{so_far}" + (f"; {holder}" if holder else ""))
    except (ConfigError, LookupError, AttributeError, *UNREADABLE) as e:
        return RunStatus(run.name, "unreadable", run.directory.stat().st_mtime, f"{type(e).__name__}: {e}")


def _results(summary: dict[str, Any]) -> str:
    """``nano-test: base 61.4%, ssb 98.2%``; for a run without benchmarks its last stage."""
    benchmarks, stages = dict(summary["benchmarks"]), list(summary["stages"])
    parts = []
    for name, benchmark in benchmarks.items():
        scores = (f"{model} {100 * score['accuracy']:.1f}%" for model, score in benchmark["models"].items())
        parts.append(f"{name}: {', '.join(scores)}")
    return "; ".join(parts) or f"up to {stages[-1]}"
