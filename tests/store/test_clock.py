"""Dates of files lie where a clock has gone back: what they decide must come out right all the same."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from ssb_core import stages
from ssb_core.config import RunConfig
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.store import Store

DAY = 86_400.0


@pytest.fixture
def store(quick_run: Run, tmp_path: Path) -> Store:
    copied = Store(tmp_path / "store")
    shutil.copytree(quick_run.store.root, copied.root)
    return copied


def date(path: Path, when: float) -> None:
    os.utime(path, (when, when))


def test_a_forced_stage_is_made_again_though_its_manifest_is_dated_in_the_future(
    small: RunConfig, store: Store
) -> None:
    spec = next(iter(Pipeline.of(small, store.root).walk(store))).spec
    asked = time.time() - 10
    (path,) = store.root.glob("rollouts/*/manifests/*.json")
    date(path, asked + 5)
    stages.forget(spec, store, before=asked)
    assert path.exists()  # by an earlier try of the same run
    date(path, asked + DAY)
    stages.forget(spec, store, before=asked)
    assert not path.exists()


def test_the_run_that_finished_last_is_the_latest_though_another_is_dated_in_the_future(
    quick_run: Run, tmp_path: Path
) -> None:
    for name in ("first", "second"):
        run = Run(tmp_path / name, quick_run.store)
        run.directory.mkdir()
        run.finish(quick_run.load_stages(), quick_run.load_summary())
        assert Run.named(tmp_path, "latest", quick_run.store).name == name
        date(run.directory / "summary.json", time.time() + DAY)
