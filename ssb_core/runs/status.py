"""The state of runs and of the store, from file names and small files alone: no shard is opened."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..errors import ConfigError, printable
from ..progress import rate_and_eta
from ..store import UNREADABLE, ListedFile, Store, lock
from ..store.audit import files_by_recipe
from ..store.layout import is_manifest, is_remote_lock, is_table
from . import Draft, Run
from .entries import Failure, Phase

State = Literal["finished", "at work", "failed", "unfinished", "unreadable"]


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
    every = (Run(d, store) for d in folder.iterdir() if d.is_dir())
    statuses = [state_of(run) for run in every if run.newest().path("config.yaml").is_file()]
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


def state_of(run: Run) -> RunStatus:
    """The state of a run's newest try."""
    draft = run.draft
    try:
        if draft.exists():
            return _draft(draft)
        if run.is_finished():
            when = run.path("summary.json").stat().st_mtime
            return RunStatus(run.name, "finished", when, _results(run.load_summary()))
        when = run.path("config.yaml").stat().st_mtime
        return RunStatus(run.name, "unfinished", when, "nothing begun yet")
    except (ConfigError, LookupError, AttributeError, *UNREADABLE) as e:
        return RunStatus(run.name, "unreadable", run.directory.stat().st_mtime, f"{type(e).__name__}: {e}")


def _draft(draft: Draft) -> RunStatus:
    """A try that is not finished: at work, failed or interrupted."""
    begun, failure, holder = draft.load_begun(), draft.load_failure(), draft.holder()
    kept = "; its earlier results are kept" if Run(draft.directory, draft.store).is_finished() else ""
    if failure and not holder:
        return RunStatus(draft.name, "failed", failure.at, f"{failure_line(failure)}{kept}")
    state: State = "at work" if holder else "unfinished"
    if not begun:
        when = draft.path("config.yaml").stat().st_mtime
        return RunStatus(draft.name, state, when, f"nothing begun yet{kept}")
    last, phase = begun[-1], draft.load_phase()
    far = _how_far(phase, bool(holder), last.label) if phase and phase.at >= last.since else ""
    return RunStatus(draft.name, state, last.since, f"{last.label}{far}{f'; {holder}' if holder else ''}{kept}")


def in_words(state: RunStatus) -> str:
    """The state as a sentence: ``run x failed in distill: ...``, ``run x is at work: ...``."""
    if state.state == "failed":
        return f"run {state.name} failed in {state.detail}"
    return f"run {state.name} is {state.state}: {state.detail}"


def failure_line(failure: Failure) -> str:
    """Where a run failed and why, in one line of printable letters."""
    why = failure.message.strip().splitlines()[:1] or [failure.error]
    return f"{failure.label}: {printable(why[0])}"


def _how_far(phase: Phase, at_work: bool, label: str) -> str:
    """``: 40/192 steps, 2.1 steps/s, 0:01:12 left``. The phase is named if it is not what `label` says."""
    name = "" if phase.label in label else f", {phase.label}"
    line = f"{name}: {phase.done:,}/{phase.total:,} {phase.unit}"
    if not at_work or not phase.seconds or phase.done == phase.total:
        return line
    return f"{line}, {rate_and_eta(phase.done - phase.before, phase.total - phase.done, phase.seconds, phase.unit)}"


def _results(summary: dict[str, Any]) -> str:
    """``nano-test: base 61.4%, ssb 98.2%``; for a run without benchmarks its last stage."""
    benchmarks, stages = dict(summary["benchmarks"]), list(summary["stages"])
    parts = []
    for name, benchmark in benchmarks.items():
        scores = (f"{model} {100 * score['accuracy']:.1f}%" for model, score in benchmark["models"].items())
        parts.append(f"{name}: {', '.join(scores)}")
    return "; ".join(parts) or f"up to {stages[-1]}"
