"""Which pages a run publishes and when, and what happens if a page cannot be made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ssb_core.config import RunConfig
from ssb_core.results import queries
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from tasks import storyteller
from tasks.artifacts import Publisher
from tasks.pages import training
from tests.support.runs import copied, run_stages


def published_at_the_end(run: Run, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the pages that are published when the last stage of a run is done."""
    keys: list[str] = []
    monkeypatch.setattr(Publisher, "publish", lambda self, pages: keys.extend(p.key for p in pages))
    pipeline = Pipeline.of(queries.load_config(run), run.store.root)
    last = run.load_stages()[-1]
    specs = [step.spec for step in pipeline.walk(run.store, last.stage)]
    teller = storyteller.Storyteller(run)
    teller.on_step(specs, [replace(last, status="cached")])
    assert keys == []  # a cached stage can wait
    teller.on_step(specs, [replace(last, status="ran")])
    return keys


@pytest.mark.parametrize(
    ("stop", "keys"),
    [
        ("rollouts", ["ssb-1-rollouts"]),
        ("select", ["ssb-2-selection"]),
        ("teach", ["ssb-2-selection", "ssb-3-solution", "ssb-4-signal"]),
        ("distill", ["ssb-2-selection", "ssb-5-training"]),
    ],
)
def test_a_run_without_a_summary_publishes_what_it_finished(
    quick_run: Run, small: RunConfig, tmp_path: Path, stop: str, keys: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_stages(small, copied(quick_run, tmp_path).store, tmp_path / "runs" / "early", stop)
    (run.directory / "summary.json").unlink()
    assert published_at_the_end(run, monkeypatch) == keys


def test_a_page_that_cannot_be_made_is_a_warning(
    quick_run: Run, tmp_path: Path, small: RunConfig, monkeypatch: pytest.MonkeyPatch, run_log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(storyteller, "PAGES", {"distill": (lambda run: 1 / 0, training.page)})
    run = run_stages(small, copied(quick_run, tmp_path).store, tmp_path / "runs" / "early", "distill")
    assert published_at_the_end(run, monkeypatch) == ["ssb-5-training"]
    assert "ZeroDivisionError" in run_log.text
