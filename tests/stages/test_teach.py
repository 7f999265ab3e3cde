"""The captured signal: it is that of the live model, certified, and of correct solutions only."""

from __future__ import annotations

import pytest
import torch

from ssb_core import models
from ssb_core.errors import StoreError
from ssb_core.records import TeacherTrace, Verdict, from_row
from ssb_core.results.signal_metadata import load_signal_metadata
from ssb_core.runs import Run
from ssb_core.signal import codecs, layout
from ssb_core.signal.capture import capture, certify
from ssb_core.signal.teachers import HiddenStates


def test_stored_signal_is_the_live_one(quick_run: Run, nano: models.ResolvedModel) -> None:
    manifest = quick_run.manifests("teach")[0]
    table = quick_run.store.table(manifest, manifest.files[0])
    model = models.load_model(nano, "cpu")
    head = models.head_weight(model)
    rows = [i for i, reason in enumerate(table["dropped"].to_pylist()) if reason is None][:4]
    assert rows
    (metadata, *_) = load_signal_metadata(quick_run.store, manifest)
    for i in rows:
        trace = from_row(TeacherTrace, table.slice(i, 1).to_pylist()[0])
        stored = codecs.from_arrow(table[layout.COLUMN], i, metadata)["hidden"]
        ids = torch.tensor([trace.teacher_prompt_ids + trace.completion_ids])
        live = model(input_ids=ids).logits[0, len(trace.teacher_prompt_ids) - 1 : -1]
        assert stored.shape == (len(trace.completion_ids), head.shape[1])
        torch.testing.assert_close(stored @ head.T, live, rtol=1e-4, atol=1e-4)


def test_capture_does_not_depend_on_the_batch(quick_run: Run, nano: models.ResolvedModel) -> None:
    manifest = quick_run.manifests("teach")[0]
    columns = [n for n in quick_run.store.table(manifest, manifest.files[0]).column_names if n != layout.COLUMN]
    rows = quick_run.store.table(manifest, manifest.files[0], columns).to_pylist()
    traces = [t for r in rows if (t := from_row(TeacherTrace, r)).dropped is None]
    model = models.load_model(nano, "cpu")
    assert len(traces) > 1
    for together, alone in zip(capture(model, traces, 16384), capture(model, traces, 1), strict=True):
        torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_every_shard_is_certified(quick_run: Run) -> None:
    signal = quick_run.load_summary()["signal"]
    assert signal["bytes_per_token"] == 512 and signal["tokens"] > 0
    assert 0 <= signal["max_kl_error"] < 1e-6


def test_signal_that_is_not_the_models_own_is_refused(quick_run: Run, nano: models.ResolvedModel) -> None:
    manifest = quick_run.manifests("teach")[0]
    table = quick_run.store.table(manifest, manifest.files[0])
    kept = [i for i, reason in enumerate(table["dropped"].to_pylist()) if reason is None]
    traces = [from_row(TeacherTrace, table.slice(i, 1).to_pylist()[0]) for i in kept]
    (metadata, *_) = load_signal_metadata(quick_run.store, manifest)
    stored = [codecs.teacher(codecs.from_arrow(table[layout.COLUMN], i, metadata), metadata) for i in kept]
    model = models.load_model(nano, "cpu")
    assert certify(model, traces, stored.__getitem__).max_kl_error < 1e-6
    with pytest.raises(StoreError, match="output head is not supported"):
        certify(model, traces, lambda i: HiddenStates(stored[i].states_NH / 8))


def test_only_correct_solutions_are_taught(quick_run: Run) -> None:
    manifest = quick_run.manifests("teach")[0]
    for table in quick_run.store.tables(manifest, ["verdict", "dropped"]):
        for row in table.to_pylist():
            assert (row["dropped"] is None) <= (Verdict(**row["verdict"]).status == "correct")
