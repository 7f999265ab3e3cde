"""Checkpoints: training resumes from the last whole one bit for bit, and sets damaged ones aside."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from ssb_core.config import RunConfig
from ssb_core.runs import Run
from ssb_core.stages import Runtime, distill
from ssb_core.store import Store
from ssb_core.training import checkpoints
from tests.support.training import StopsAfter, adapter, equal, spec_of, with_distill


def test_training_broken_off_and_resumed_gives_the_same_bits(small: RunConfig, store: Store, quick_run: Run) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(6)))
    outcome = distill.run(spec, store, Runtime())
    steps = outcome.manifest.stats["steps"]
    assert (outcome.reused, outcome.made) == (4, steps - 4)
    expected = adapter(spec, quick_run.store)
    for name, tensor in adapter(spec, store).items():
        assert torch.equal(tensor, expected[name]), name
    (uninterrupted,) = quick_run.manifests("distill")
    assert outcome.manifest.stats == uninterrupted.stats
    assert not list(store.root.rglob("*.work"))


def test_files_that_a_killed_process_left_do_not_get_into_the_result(
    small: RunConfig, store: Store, quick_run: Run
) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(6)))
    (work_dir,) = store.directory(spec.recipe).glob("*.work")
    (work_dir / "result" / "adapter").mkdir(parents=True)
    (work_dir / "result" / "adapter" / ".tmpGxUJQd").write_bytes(b"half")  # as safetensors writes
    (work_dir / "speed.json").write_text("{")
    (uninterrupted,) = quick_run.manifests("distill")
    assert distill.run(spec, store, Runtime()).manifest == uninterrupted


def test_a_half_written_checkpoint_is_deleted_and_the_one_before_counts(small: RunConfig, store: Store) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(9)))
    (work_dir,) = store.directory(spec.recipe).glob("*.work")
    assert checkpoints.last(work_dir) == work_dir / "checkpoint-8"
    (work_dir / "checkpoint-8" / checkpoints.SEAL).unlink()
    assert checkpoints.last(work_dir) == work_dir / "checkpoint-4"
    assert not (work_dir / "checkpoint-8").exists()


def test_a_damaged_checkpoint_is_set_aside_for_the_one_before(
    small: RunConfig, store: Store, quick_run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(9)))
    (work_dir,) = store.directory(spec.recipe).glob("*.work")
    flip(work_dir / "checkpoint-8" / "optimizer.pt")
    outcome = distill.run(spec, store, Runtime())
    assert "checkpoint-8: damaged checkpoint (optimizer.pt); set aside" in caplog.text
    assert outcome.reused == 4 and outcome.manifest == quick_run.manifests("distill")[0]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def test_checkpoints_from_other_upstream_bytes_are_not_used(small: RunConfig, store: Store) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(6)))
    (work_dir,) = store.directory(spec.recipe).glob("*.work")
    other = work_dir.with_name(f"{spec.fingerprint}.0000000000000000.work")
    work_dir.rename(other)
    assert distill.run(spec, store, Runtime()).reused == 0
    assert not other.exists()


def test_an_epoch_grouped_by_length_resumes_in_its_order(small: RunConfig, store: Store) -> None:
    spec = with_distill(spec_of(small, store), group_by_length=True, save_steps=2)
    whole = distill.run(spec, store, Runtime())
    uninterrupted = adapter(spec, store)
    shutil.rmtree(store.directory(spec.recipe))
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(9)))  # in the second epoch
    resumed = distill.run(spec, store, Runtime())
    assert resumed.reused == 8 and resumed.manifest.stats == whole.manifest.stats
    assert equal(adapter(spec, store), uninterrupted)


def test_a_kill_between_an_early_stop_and_the_commit_changes_no_result(
    small: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    wild = with_distill(spec_of(small, store), held_out=8, patience=2, save_steps=1, learning_rate=0.03)
    whole, weights = distill.run(wild, store, Runtime()), adapter(wild, store)
    shutil.rmtree(store.directory(wild.recipe))
    with monkeypatch.context() as broken, pytest.raises(InterruptedError):
        broken.setattr(distill, "refuse_divergence", lambda *log: StopsAfter(0).advance())
        distill.run(wild, store, Runtime())
    again = distill.run(wild, store, Runtime())
    assert again.made == 0 and again.manifest == whole.manifest
    assert equal(adapter(wild, store), weights)
