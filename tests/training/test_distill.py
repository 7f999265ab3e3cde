"""Distillation: its loss, its learning rate, its early stop, its codecs and its curves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from ssb_core import models
from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError, StoreError
from ssb_core.progress import Progress
from ssb_core.results.signal_metadata import load_signal_metadata
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.signal import layout
from ssb_core.stages import Runtime, distill
from ssb_core.stages.execute import execute
from ssb_core.store import Store
from ssb_core.training import distill as training
from ssb_core.training.dataset import Traces, collate
from ssb_core.training.job import TrainingJob
from ssb_core.training.log import CURVES, read_log
from ssb_core.training.student import make_student
from ssb_core.training.trainer import DistillTrainer
from tests.support.training import StopsAfter, adapter, spec_of, with_distill, with_execution, written_traces


def test_accumulation_changes_no_loss(small: RunConfig, store: Store, quick_run: Run) -> None:
    spec = spec_of(small, store)
    split = spec.model_copy(update={"distill": spec.distill.model_copy(update={"accumulation": 4})})
    assert split.fingerprint == spec.fingerprint
    distill.run(split, store, Runtime())

    def losses(held: Store) -> list[float]:
        return [json.loads(row)["loss"] for row in (spec.directory(held) / "log.jsonl").read_text().splitlines()]

    assert losses(store) == pytest.approx(losses(quick_run.store), rel=1e-3)


def test_activation_checkpointing_computes_layers_twice_with_the_same_bits(
    small: RunConfig, store: Store, quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(small, store)
    frugal = spec.model_copy(update={"distill": spec.distill.model_copy(update={"checkpointing": True})})
    assert frugal.fingerprint == spec.fingerprint
    calls = 0

    def counting(job: TrainingJob) -> Any:
        def count(*args: Any) -> None:
            nonlocal calls
            calls += 1

        student = make_student(job)
        models.backbone(student).layers[1].register_forward_pre_hook(count)
        return student

    monkeypatch.setattr(training, "make_student", counting)
    steps = distill.run(frugal, store, Runtime()).manifest.stats["steps"]
    assert calls == 2 * steps > 0
    for name, tensor in adapter(spec, store).items():
        assert torch.equal(tensor, adapter(spec, quick_run.store)[name])


def test_the_loss_falls_and_lora_covers_every_linear_layer(quick_run: Run, small: RunConfig) -> None:
    spec = spec_of(small, quick_run.store)
    (manifest,) = quick_run.manifests("distill")
    log = [json.loads(row) for row in (spec.directory(quick_run.store) / "log.jsonl").read_text().splitlines()]
    assert len(log) == manifest.stats["steps"] == 12
    assert sum(r["loss"] for r in log[6:]) < sum(r["loss"] for r in log[:6])
    tensors = adapter(spec, quick_run.store)
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    targets = {name.split(".")[-3] for name in tensors}
    assert targets == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_the_loss_is_the_kl_of_full_logits_averaged_over_solution_tokens(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    spec = spec_of(small, store)
    traces = written_traces(spec, store, tmp_path)
    rows = sorted((traces[i] for i in range(8)), key=lambda r: len(r["completion_ids"]))
    rows = [rows[0], rows[-1]]
    assert len(rows[0]["completion_ids"]) < len(rows[1]["completion_ids"])
    student = make_student(spec.job)
    for name, weight in student.named_parameters():
        if "lora_B" in name:  # zero at the start: the student would be the base
            torch.nn.init.normal_(weight, std=0.05)
    trainer = DistillTrainer(student, traces, traces, spec.distill, tmp_path, Progress())
    head, t, total, tokens = models.head_weight(student).double(), spec.distill.temperature, 0.0, 0
    for row in rows:
        ids = torch.tensor([[*row["prompt_ids"], *row["completion_ids"]]])
        logits = student(input_ids=ids).logits[0].detach().double()
        for i, teacher_H in enumerate(row["signal"]["hidden"].double()):
            log_s = (logits[len(row["prompt_ids"]) - 1 + i] / t).log_softmax(-1)
            log_t = (teacher_H @ head.T / t).log_softmax(-1)
            total += float(t * t * (log_t.exp() * (log_t - log_s)).sum())
            tokens += 1
    assert trainer.compute_loss(student, collate(rows)).item() == pytest.approx(total / tokens, rel=1e-4)


def test_with_cross_entropy_alone_the_loss_is_that_of_fine_tuning(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    """The model itself computes it from the same labels: the mean cross-entropy of the solution tokens."""
    spec = spec_of(small, store)
    traces = written_traces(spec, store, tmp_path)
    batch, student = collate([traces[0], traces[5]]), make_student(spec.job)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    expected = student(**plain).loss.item()
    alone = spec.distill.model_copy(update={"divergence": "jsd", "cross_entropy": 1.0})
    trainer = DistillTrainer(student, traces, traces, alone, tmp_path, Progress())
    assert trainer.compute_loss(student, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_learning_rate_decays_linearly_from_its_setting_to_zero(quick_run: Run, small: RunConfig) -> None:
    spec = spec_of(small, quick_run.store)
    log = [json.loads(row) for row in (spec.directory(quick_run.store) / "log.jsonl").read_text().splitlines()]
    expected = [2e-4 * (1 - i / len(log)) for i in range(len(log))]
    assert [row["learning_rate"] for row in log] == pytest.approx(expected)


def test_a_diverged_student_is_refused(small: RunConfig, store: Store) -> None:
    wild = small.model_copy(update={"distill": small.distill.model_copy(update={"learning_rate": 1e30})})
    spec = spec_of(wild, store)
    with pytest.raises(StoreError, match=r"diverged at step \d+ .*learning_rate"):
        distill.run(spec, store, Runtime())
    assert store.manifest(spec.recipe, spec.fingerprint) is None


def test_a_rising_held_out_loss_ends_training_and_the_best_student_is_kept(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    """The steps are so large that every one makes the student worse."""
    wild = with_distill(spec_of(small, store), held_out=8, patience=2, save_steps=1, learning_rate=0.03)
    log_of, outcome = lambda spec: read_log(spec.directory(store)), distill.run(wild, store, Runtime())
    losses = [row["held_out_loss"] for row in log_of(wild)]
    best = losses.index(min(losses))
    assert outcome.manifest.stats["traces"] == wild.limit - 8
    assert len(losses) == best + 3 < 8, "two checkpoints after the best one"
    kept = PeftModel.from_pretrained(models.load_model(wild.teach[0].model, "cpu"), wild.load_adapter(store))
    traces = written_traces(wild, store, tmp_path)
    held_out = Traces(tmp_path / "traces.arrow", range(len(traces) - 8, len(traces)))
    trainer = DistillTrainer(kept, traces, held_out, wild.distill, tmp_path, Progress())
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-5)
    calm = with_distill(wild, patience=0)
    distill.run(calm, store, Runtime())
    assert [row["held_out_loss"] for row in log_of(calm)][: len(losses)] == losses


def test_the_held_out_loss_is_the_mean_objective_over_unseen_tokens(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    spec = with_distill(spec_of(small, store), held_out=5)
    traces, student = written_traces(spec, store, tmp_path), make_student(spec.job)
    held_out = Traces(tmp_path / "traces.arrow", range(len(traces) - 5, len(traces)))
    trainer = DistillTrainer(student, traces, held_out, spec.distill, tmp_path, Progress())
    rows = [traces[i] for i in range(len(traces) - 5, len(traces))]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(
        trainer.compute_loss(student, collate(rows)).item(), rel=1e-5
    )


@pytest.mark.parametrize(("codec", "nbytes"), [("topk", 8 * 16 + 4), ("dense", 2 * 570)])
def test_students_learn_from_other_codecs_without_another_sample(
    codec: str, nbytes: int, small: RunConfig, store: Store
) -> None:
    settings = small.model_copy(update={"teach": small.teach.model_copy(update={"codec": codec, "k": 16})})
    made = {}
    for step in Pipeline.of(settings, store.root).walk(store):
        if step.spec.stage == "evaluate":
            break
        made[f"{step.spec.stage} {type(step.spec).__name__}"] = execute(step.spec, store, Runtime())
    assert made["rollouts Spec"].made == made["select Spec"].made == 0 < made["teach Spec"].made
    (metadata, *_) = load_signal_metadata(store, made["teach Spec"].manifest)
    assert metadata["codec"] == f"{codec}/2" and layout.bytes_per_token(metadata) == nbytes
    assert 0 <= metadata["max_kl_error"] < 1e-5
    log = read_log(spec_of(settings, store).directory(store))
    assert sum(row["loss"] for row in log[6:]) < sum(row["loss"] for row in log[:6])


def test_curves_for_tensorboard_stay_beside_the_adapter(small: RunConfig, store: Store) -> None:
    spec = with_execution(spec_of(small, store), report_to=("tensorboard",))
    outcome = distill.run(spec, store, Runtime())
    events = EventAccumulator(str(spec.directory(store) / CURVES)).Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx([row["loss"] for row in read_log(spec.directory(store))])
    assert not any(CURVES in entry.path for entry in outcome.manifest.files)


def test_curves_of_a_resumed_training_show_each_step_once(small: RunConfig, store: Store) -> None:
    spec = with_execution(spec_of(small, store), report_to=("tensorboard",))
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(6)))
    steps = distill.run(spec, store, Runtime()).manifest.stats["steps"]
    events = EventAccumulator(str(spec.directory(store) / CURVES)).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, steps + 1))


def test_reports_whose_package_is_missing_are_refused_before_any_work(
    small: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ssb_core.config.settings.find_spec", lambda name: None)
    settings = small.model_copy(update={"execution": small.execution.model_copy(update={"report_to": ("wandb",)})})
    with pytest.raises(ConfigError, match=r"execution\.report_to: wandb is not installed"):
        Pipeline.of(settings, store.root)
