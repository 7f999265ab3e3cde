"""Files that are dated in the future because the clock has gone back since."""

from __future__ import annotations

import os
import time
from pathlib import Path

from ssb_core import stages
from ssb_core.config import RunConfig
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from tests.support.runs import copied

DAY = 86_400.0


def date(path: Path, when: float) -> None:
    os.utime(path, (when, when))


def test_a_forced_stage_is_deleted_though_its_manifest_is_dated_in_the_future(
    small: RunConfig, quick_run: Run, tmp_path: Path
) -> None:
    store = copied(quick_run, tmp_path).store
    spec = next(iter(Pipeline.of(small, store.root).walk(store))).spec
    forced_at = time.time() - 10
    (path,) = store.root.glob("rollouts/*/manifests/*.json")
    date(path, forced_at + 5)
    stages.delete(spec, store, before=forced_at)
    assert path.exists()  # made by an earlier try of the same run
    date(path, forced_at + DAY)
    stages.delete(spec, store, before=forced_at)
    assert not path.exists()


def test_the_run_that_finished_last_is_latest_though_another_has_a_later_date(quick_run: Run, tmp_path: Path) -> None:
    for name in ("first", "second"):
        run = Run(tmp_path / name, quick_run.store)
        run.directory.mkdir()
        run.draft.finish(quick_run.load_stages(), quick_run.load_summary())
        run.draft.publish()
        assert Run.named(tmp_path, "latest", quick_run.store).name == name
        date(run.directory / "summary.json", time.time() + DAY)
