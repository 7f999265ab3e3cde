"""Checks of the store and its disk, and the estimate that they use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ssb_core.config import RunConfig, presets
from ssb_core.doctor import disk
from ssb_core.runs import Run, disk_estimate
from ssb_core.runs.disk_estimate import Lengths, Sizes
from ssb_core.store import Store
from tests.support.doctor import examined

NANO = Sizes(
    problems=64, evaluated=48, answered=192, prompt_bytes=400, hidden_size=128, vocabulary=256, lora_width=9728
)


def size_of(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("below", ["", "store"])
def test_a_file_in_the_place_of_the_store_is_a_problem(below: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (check,) = disk.directory(Store(tmp_path / "file" / below))
    assert check.status == "problem" and "file is a file; results need a directory" in check.message


def test_the_bound_holds_for_a_real_store_and_is_near_with_known_lengths(small: RunConfig, quick_run: Run) -> None:
    actual = size_of(quick_run.store.root)
    bound = disk_estimate.estimate(small, NANO)
    lengths = disk_estimate.measured(quick_run.store, model_identity(small), small)
    assert lengths is not None and 40 < lengths.rollouts < 70 and 40 < lengths.teach < 70
    near = disk_estimate.estimate(small, NANO, lengths)
    assert actual < near.peak - near.checkpoints < 3 * actual  # checkpoints are gone when a run is finished
    assert near.peak - near.checkpoints < bound.peak - bound.checkpoints < 6 * actual
    for name, folder in {"rollouts": "rollouts", "samples": "evaluate", "adapter": "distill"}.items():
        assert size_of(quick_run.store.root / folder) < near.parts[name]


def test_a_bound_grows_with_what_it_is_made_of(small: RunConfig) -> None:
    before = disk_estimate.estimate(small, NANO)
    assert before.peak == sum(before.parts.values())
    assert "model" not in before.parts
    assert disk_estimate.estimate(small, replace(NANO, converted=7)).parts["model"] == 7
    longer = small.model_copy(update={"teach": small.teach.model_copy(update={"max_new_tokens": 320})})
    assert 1.8 < disk_estimate.estimate(longer, NANO).signal / before.signal < 2
    wider = small.model_copy(update={"distill": small.distill.model_copy(update={"lora_rank": 64})})
    assert 1.9 < disk_estimate.estimate(wider, NANO).adapter / before.adapter < 2
    more = small.model_copy(update={"baselines": ("sft", "ssb-no-wrong"), "seeds": 3, "rounds": 2})
    estimate = disk_estimate.estimate(more, replace(NANO, weights=10))
    assert (estimate.adapter, estimate.samples) == (10 * before.adapter, 11 * before.samples // 2)
    assert estimate.merged == 10
    assert (estimate.rollouts, estimate.signal) == (2 * before.rollouts, 3 * before.signal)


def test_the_paper_preset_needs_some_gigabytes() -> None:
    """Qwen2.5-3B: 36 layers of 2,048 to 11,008, GSM8K's 7,473 problems, 530 to evaluate on."""
    qwen = Sizes(7473, 530, 530, prompt_bytes=600, hidden_size=2048, vocabulary=151_936, lora_width=1_870_848)
    estimate = disk_estimate.estimate(presets.load_config("paper"), qwen)
    assert estimate.adapter == pytest.approx(239e6, rel=0.01)
    assert 2e9 < estimate.signal < 4e9 and 4e9 < estimate.peak < 8e9


def test_a_finished_run_needs_no_more_and_its_store_is_not_touched(small: RunConfig, quick_run: Run) -> None:
    before = {p: p.stat().st_mtime_ns for p in quick_run.store.root.rglob("*")}
    checks = examined(small, quick_run.store.root)
    assert checks["disk"].message.startswith("nothing more is needed: the whole run is in the store (2.")
    assert {p: p.stat().st_mtime_ns for p in quick_run.store.root.rglob("*")} == before


def test_free_space_is_judged_by_usual_lengths_if_known(small: RunConfig) -> None:
    bound = disk_estimate.estimate(small, NANO)
    usual = disk_estimate.estimate(small, NANO, Lengths(50, 50, 50))
    assert disk.compare_with_free(bound, None, 0, bound.peak + 1).status == "ok"
    assert disk.compare_with_free(bound, None, 0, usual.peak + 1).status == "problem"
    assert disk.compare_with_free(bound, usual, 0, usual.peak + 1).status == "warning"
    assert disk.compare_with_free(bound, usual, 0, usual.peak - 1).status == "problem"
    assert disk.compare_with_free(bound, None, 10, bound.peak).status == "ok"


def model_identity(settings: RunConfig) -> str:
    from ssb_core import models

    return models.resolve(settings.model, Path("store")).identity
