"""The files of a finished run are replaced all at once, by those of another try that is whole."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError
from ssb_core.results import queries
from ssb_core.runs import SUMMARY_FORMAT, Run
from ssb_core.runs.run import FILES
from ssb_core.store import Store, write_json

CHANGES = ("mkdir", "rename", "replace", "rmdir", "unlink")  # functions of `os` that change names


class Killed(BaseException):
    """The end of the process. Every later change of a file raises it again, so no clean-up has an effect."""


def make(run: Run, config: RunConfig, traces: int, on_wait: Callable[[str], None] = print) -> None:
    """A whole try of a run with `traces` target traces, without any work."""
    with run.exclusive(on_wait):
        draft = run.begin(config.model_copy(update={"target_traces": traces}))
        draft.finish([], {"format": SUMMARY_FORMAT, "traces": traces})
        write_json(draft.path("report.html"), traces)
        draft.publish()


def traces_of(run: Run) -> list[int]:
    """The target traces that each file of a finished run is about."""
    assert run.load_stages() == [] and run.load_environment()
    return [
        run.load_summary()["traces"],
        int(run.path("report.html").read_text()),
        queries.load_config(run).target_traces,
    ]


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """End the process before its change number `step`."""
    changes = []

    def counted(name: str) -> object:
        change = getattr(os, name)

        def call(*arguments: object, **options: object) -> object:
            changes.append(name)
            if len(changes) >= step:
                raise Killed
            return change(*arguments, **options)

        return call

    for name in CHANGES:
        monkeypatch.setattr(os, name, counted(name))


def test_a_kill_at_any_change_leaves_the_files_of_one_try_and_the_next_mends(
    small: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, finished, outcomes = Run(tmp_path / "run", Store(tmp_path / "store")), 1, set()
    make(run, small, finished)
    for step in range(1, 100):
        ended = "killed"
        with monkeypatch.context() as patch, contextlib.suppress(Killed):
            kill_at(step, patch)
            make(run, small, 1 + step)
            ended = "done"
        (which,) = set(traces_of(run))
        assert which in (finished, 1 + step), "files of a try before the last"
        assert Run.named(tmp_path, "latest", run.store) == Run.found(tmp_path, "run", run.store) == run
        outcomes.add((ended, "old" if which == finished else "new"))
        finished = which
        if ended == "done":
            break
    assert outcomes == {("killed", "old"), ("killed", "new"), ("done", "new")}
    assert sorted(p.name for p in run.directory.iterdir()) == sorted(FILES)


def test_a_run_that_never_finished_is_found_but_not_named_as_finished(small: RunConfig, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    begun = Run(tmp_path / "begun", store).begin(small)
    for name in ("begun", "latest"):
        assert Run.found(tmp_path, name, store) == begun
        with pytest.raises(ConfigError, match=r"run begun is not finished\n  remedy: .* ssb report begun says how far"):
            Run.named(tmp_path, name, store)
    make(Run(tmp_path / "made", store), small, 3)
    make(Run(tmp_path / "begun again", store), small, 3)
    Run(tmp_path / "begun again", store).begin(small)
    assert Run.found(tmp_path, "latest", store).name == "begun again", "what finished last has results"
    with pytest.raises(ConfigError, match=r"no finished run 'x' in .* \(finished runs: made, begun again\)"):
        Run.found(tmp_path, "x", store)


def test_a_second_process_waits_until_the_first_has_finished_the_run(small: RunConfig, tmp_path: Path) -> None:
    run, waits = Run(tmp_path / "run", Store(tmp_path / "store")), list[str]()
    with run.exclusive(print):
        holder = run.holder()
        assert holder and holder.pid == os.getpid()
        second = threading.Thread(target=make, args=(run, small, 2, waits.append))
        second.start()
        while not waits:
            time.sleep(0.05)
        assert not run.draft.exists()
    second.join()
    assert waits[0].startswith(f"run run: waiting for process {os.getpid()}") and traces_of(run) == [2, 2, 2]
    assert run.holder() is None
