"""Distillation: resumes bit for bit, does not depend on accumulation, trains on the stored rows only."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ssb_core import models
from ssb_core.config import RunConfig
from ssb_core.pipeline import Pipeline
from ssb_core.progress import Progress
from ssb_core.runs import Run
from ssb_core.signal import origin
from ssb_core.stages import distill, required, sources
from ssb_core.store import Store, StoreError, digest, exclusive
from ssb_core.trainer import DistillTrainer


def spec_of(settings: RunConfig, store: Store) -> distill.Spec:
    return next(r.spec for r in Pipeline.of(settings, store.root).walk(store) if isinstance(r.spec, distill.Spec))


@pytest.fixture
def store(quick_run: Run, tmp_path: Path) -> Store:
    """A copy of the finished store without its distillation."""
    copied = Store(tmp_path / "store")
    shutil.copytree(quick_run.store.root, copied.root)
    shutil.rmtree(copied.root / "distill")
    return copied


def adapter(spec: distill.Spec, store: Store) -> dict[str, torch.Tensor]:
    return dict(load_file(spec.adapter(store) / "adapter_model.safetensors"))


class StopsAfter(Progress):
    """Breaks off after `steps` steps, as a kill would."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, n: int = 1) -> None:
        self.left -= n
        if self.left < 0:
            raise InterruptedError


def test_training_broken_off_and_resumed_gives_the_same_bits(small: RunConfig, store: Store, quick_run: Run) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, StopsAfter(6))
    outcome = distill.run(spec, store, Progress())
    steps = outcome.manifest.facts["steps"]
    assert (outcome.reused, outcome.made) == (4, steps - 4)
    expected = adapter(spec, quick_run.store)
    for name, tensor in adapter(spec, store).items():
        assert torch.equal(tensor, expected[name]), name
    (uninterrupted,) = quick_run.manifests("distill")
    assert outcome.manifest.facts == uninterrupted.facts
    assert not list(store.root.rglob("*.work"))


def test_a_half_written_checkpoint_is_passed_over(small: RunConfig, store: Store) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, StopsAfter(9))
    (work,) = store.directory(spec.recipe).glob("*.work")
    assert distill.last_checkpoint(work) == work / "checkpoint-8"
    (work / "checkpoint-8" / "trainer_state.json").write_text("{")
    assert distill.last_checkpoint(work) == work / "checkpoint-4"
    assert not (work / "checkpoint-8").exists()


def test_accumulation_changes_no_loss(small: RunConfig, store: Store, quick_run: Run) -> None:
    spec = spec_of(small, store)
    split = spec.model_copy(update={"distill": spec.distill.model_copy(update={"accumulation": 4})})
    assert split.fingerprint == spec.fingerprint
    distill.run(split, store, Progress())

    def losses(held: Store) -> list[float]:
        return [json.loads(row)["loss"] for row in (spec.directory(held) / "log.jsonl").read_text().splitlines()]

    assert losses(store) == pytest.approx(losses(quick_run.store), rel=1e-3)


def test_activation_checkpointing_computes_every_layer_twice_and_gives_the_same_bits(
    small: RunConfig, store: Store, quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(small, store)
    frugal = spec.model_copy(update={"distill": spec.distill.model_copy(update={"checkpointing": True})})
    assert frugal.fingerprint == spec.fingerprint
    calls, make = 0, distill.make_student

    def counting(spec: distill.Spec) -> Any:
        def count(*args: Any) -> None:
            nonlocal calls
            calls += 1

        student = make(spec)
        models.backbone(student).layers[1].register_forward_pre_hook(count)
        return student

    monkeypatch.setattr(distill, "make_student", counting)
    steps = distill.run(frugal, store, Progress()).manifest.facts["steps"]
    assert calls == 2 * steps > 0
    for name, tensor in adapter(spec, store).items():
        assert torch.equal(tensor, adapter(spec, quick_run.store)[name])


def test_the_loss_falls_and_lora_covers_every_linear_layer(quick_run: Run, small: RunConfig) -> None:
    spec = spec_of(small, quick_run.store)
    (manifest,) = quick_run.manifests("distill")
    log = [json.loads(row) for row in (spec.directory(quick_run.store) / "log.jsonl").read_text().splitlines()]
    assert len(log) == manifest.facts["steps"] == 12
    assert sum(r["loss"] for r in log[6:]) < sum(r["loss"] for r in log[:6])
    tensors = adapter(spec, quick_run.store)
    assert {t.dtype for t in tensors.values()} == {torch.float32}
    targets = {name.split(".")[-3] for name in tensors}
    assert targets == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_labels_select_exactly_the_solution_tokens() -> None:
    rows = [
        {"prompt_ids": [1, 2], "completion_ids": [3, 4, 5], "teacher_NH": torch.zeros(3, 2)},
        {"prompt_ids": [1], "completion_ids": [6], "teacher_NH": torch.ones(1, 2)},
    ]
    batch = distill.collate(rows)
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 6, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 3, 4, 5], [-100, 6, -100, -100, -100]]
    assert batch["labels"][batch["labels"] != -100].tolist() == [3, 4, 5, 6]
    assert batch["teacher_NH"].tolist() == [[0, 0]] * 3 + [[1, 1]]


def test_the_trainers_loss_is_the_naive_full_logit_kl_averaged_over_solution_tokens(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    spec = spec_of(small, store)
    traces = distill.Traces(store, [required(t, store) for t in spec.teach], spec.limit)
    rows = sorted((traces[i] for i in range(8)), key=lambda r: len(r["completion_ids"]))
    rows = [rows[0], rows[-1]]
    assert len(rows[0]["completion_ids"]) < len(rows[1]["completion_ids"])
    student = distill.make_student(spec)
    for name, weight in student.named_parameters():
        if "lora_B" in name:  # zero at the start: the student would be the base
            torch.nn.init.normal_(weight, std=0.05)
    trainer = DistillTrainer(student, traces, distill.collate, spec.distill, tmp_path, Progress())
    head, t, total, tokens = models.head_weight(student).double(), spec.distill.temperature, 0.0, 0
    for row in rows:
        ids = torch.tensor([row["prompt_ids"] + row["completion_ids"]])
        logits = student(input_ids=ids).logits[0].detach().double()
        for i, teacher_H in enumerate(row["teacher_NH"].double()):
            log_s = (logits[len(row["prompt_ids"]) - 1 + i] / t).log_softmax(-1)
            log_t = (teacher_H @ head.T / t).log_softmax(-1)
            total += float(t * t * (log_t.exp() * (log_t - log_s)).sum())
            tokens += 1
    assert trainer.compute_loss(student, distill.collate(rows)).item() == pytest.approx(total / tokens, rel=1e-4)


def test_with_cross_entropy_alone_the_trainers_loss_is_plain_fine_tunings(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    """That of the model itself, given the same labels: mean cross-entropy of the solution tokens."""
    spec = spec_of(small, store)
    traces = distill.Traces(store, [required(t, store) for t in spec.teach], spec.limit)
    batch, student = distill.collate([traces[0], traces[5]]), distill.make_student(spec)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    expected = student(**plain).loss.item()
    config = spec.distill.model_copy(update={"divergence": "jsd", "cross_entropy": 1.0})
    trainer = DistillTrainer(student, traces, distill.collate, config, tmp_path, Progress())
    assert trainer.compute_loss(student, batch).item() == pytest.approx(expected, rel=1e-5)


def test_the_learning_rate_starts_as_configured_and_decays_linearly_to_nothing(
    quick_run: Run, small: RunConfig
) -> None:
    spec = spec_of(small, quick_run.store)
    log = [json.loads(row) for row in (spec.directory(quick_run.store) / "log.jsonl").read_text().splitlines()]
    expected = [2e-4 * (1 - i / len(log)) for i in range(len(log))]
    assert [row["learning_rate"] for row in log] == pytest.approx(expected)


def test_a_diverged_student_is_refused(small: RunConfig, store: Store) -> None:
    wild = small.model_copy(update={"distill": small.distill.model_copy(update={"learning_rate": 1e30})})
    spec = spec_of(wild, store)
    with pytest.raises(StoreError, match=r"diverged at step \d+ .*learning_rate"):
        distill.run(spec, store, Progress())
    assert store.manifest(spec.recipe, spec.fingerprint) is None


def test_checkpoints_of_other_upstream_bytes_are_not_gone_on_with(small: RunConfig, store: Store) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, StopsAfter(6))
    (work,) = store.directory(spec.recipe).glob("*.work")
    other = work.with_name(f"{spec.fingerprint}.0000000000000000.work")
    work.rename(other)
    assert distill.run(spec, store, Progress()).reused == 0
    assert not other.exists()


def test_a_second_process_at_the_same_distillation_is_refused(small: RunConfig, store: Store) -> None:
    spec = spec_of(small, store)
    work = store.work(spec.recipe, spec.fingerprint, digest(sources(spec, store)))
    with exclusive(work, "distill"), pytest.raises(StoreError, match="another process is at work"):
        distill.run(spec, store, Progress())


def test_signal_of_another_head_is_refused(small: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "tensor_digest", lambda tensor: "another")
    with pytest.raises(StoreError, match="the student another\n  remedy"):
        distill.run(spec_of(small, store), store, Progress())


@pytest.mark.parametrize(
    ("noted", "said"),
    [
        ({"soft_cap": 30.0}, "has the soft_cap 30.0, the student None"),
        ({"tokenizer": "0" * 16}, "has the tokenizer 0000000000000000, the student "),
        ({"vocabulary": 7}, "has the vocabulary 7, the student "),
        ({"norm": "before"}, "has the norm before, the student "),
        ({"mean_kl_error": None}, "no valid certificate: its mean KL error is None"),
        ({"mean_kl_error": float("nan")}, "no valid certificate: its mean KL error is nan"),
        ({"mean_kl_error": 0.5}, "no valid certificate: its mean KL error is 0.5"),
    ],
)
def test_signal_that_is_not_the_students_or_not_certified_is_refused_by_name(
    small: RunConfig, quick_run: Run, noted: dict[str, Any], said: str
) -> None:
    spec = spec_of(small, quick_run.store)
    origins = distill.Traces(quick_run.store, [required(t, quick_run.store) for t in spec.teach], spec.limit).origins
    student, tokenizer = models.load_model(spec.teach[0].model, "cpu"), models.load_tokenizer(spec.teach[0].model)
    origin.refuse_unfit(origins, student, tokenizer)
    with pytest.raises(StoreError, match=re.escape(said)):
        origin.refuse_unfit([*origins, {**origins[0], **noted}], student, tokenizer)


def test_a_tokenizers_digest_changes_with_its_template_and_not_with_its_use(small: RunConfig, quick_run: Run) -> None:
    model = spec_of(small, quick_run.store).teach[0].model
    tokenizer = models.load_tokenizer(model)
    fresh = models.tokenizer_digest(tokenizer)
    tokenizer(["1", "1 + 1"], padding=True, truncation=True, max_length=4)
    assert models.tokenizer_digest(tokenizer) == fresh
    tokenizer.chat_template += " "
    assert models.tokenizer_digest(tokenizer) != fresh
    tokenizer.chat_template = tokenizer.chat_template[:-1]
    tokenizer.add_tokens(["<another>"])
    assert models.tokenizer_digest(tokenizer) != fresh
