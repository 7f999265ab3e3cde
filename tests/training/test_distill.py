"""Distillation: resumes bit for bit, does not depend on accumulation, trains on the stored rows only."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from collections import UserList
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from ssb_core import config, models
from ssb_core.config import DistillConfig, RunConfig
from ssb_core.errors import ConfigError, StageError, StoreError, may_pass
from ssb_core.progress import Progress
from ssb_core.results.signal_metadata import load_signal_metadata
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.signal import codecs, compatibility, layout
from ssb_core.stages import distill, execute, required
from ssb_core.store import Store
from ssb_core.training import checkpoints
from ssb_core.training import distributed as together
from ssb_core.training.dataset import Traces, collate, lay_out
from ssb_core.training.trainer import DistillTrainer, Order, Report
from tests.support.processes import free_port


def spec_of(settings: RunConfig, store: Store) -> distill.Spec:
    return next(r.spec for r in Pipeline.of(settings, store.root).walk(store) if isinstance(r.spec, distill.Spec))


@pytest.fixture
def store(quick_run: Run, tmp_path: Path) -> Store:
    """A copy of the finished store without its distillation."""
    return without_students(quick_run, tmp_path / "store")


def without_students(run: Run, to: Path) -> Store:
    shutil.copytree(run.store.root, to, ignore=shutil.ignore_patterns("distill"))
    return Store(to)


def laid_out(spec: distill.Spec, store: Store, folder: Path) -> Traces:
    lay_out(store, [required(t, store) for t in spec.teach], spec.limit, folder / "traces.arrow")
    return Traces(folder / "traces.arrow")


def adapter(spec: distill.Spec, store: Store) -> dict[str, torch.Tensor]:
    return dict(load_file(spec.load_adapter(store) / "adapter_model.safetensors"))


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


def test_what_a_killed_process_left_of_a_result_is_not_taken_into_it(
    small: RunConfig, store: Store, quick_run: Run
) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(6)))
    (work,) = store.directory(spec.recipe).glob("*.work")
    (work / "result" / "adapter").mkdir(parents=True)
    (work / "result" / "adapter" / ".tmpGxUJQd").write_bytes(b"half")  # as safetensors writes
    (work / "speed.json").write_text("{")
    (uninterrupted,) = quick_run.manifests("distill")
    assert distill.run(spec, store, Runtime()).manifest == uninterrupted


def test_a_half_written_checkpoint_is_passed_over(small: RunConfig, store: Store) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(9)))
    (work,) = store.directory(spec.recipe).glob("*.work")
    assert checkpoints.last(work) == work / "checkpoint-8"
    (work / "checkpoint-8" / checkpoints.SEAL).unlink()
    assert checkpoints.last(work) == work / "checkpoint-4"
    assert not (work / "checkpoint-8").exists()


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_ends_with_the_same_bits(
    small: RunConfig, store: Store, quick_run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(9)))
    (work,) = store.directory(spec.recipe).glob("*.work")
    flip(work / "checkpoint-8" / "optimizer.pt")
    outcome = distill.run(spec, store, Runtime())
    assert "checkpoint-8: damaged checkpoint (optimizer.pt); set aside" in caplog.text
    assert outcome.reused == 4 and outcome.manifest == quick_run.manifests("distill")[0]


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def test_accumulation_changes_no_loss(small: RunConfig, store: Store, quick_run: Run) -> None:
    spec = spec_of(small, store)
    split = spec.model_copy(update={"distill": spec.distill.model_copy(update={"accumulation": 4})})
    assert split.fingerprint == spec.fingerprint
    distill.run(split, store, Runtime())

    def losses(held: Store) -> list[float]:
        return [json.loads(row)["loss"] for row in (spec.directory(held) / "log.jsonl").read_text().splitlines()]

    assert losses(store) == pytest.approx(losses(quick_run.store), rel=1e-3)


def test_activation_checkpointing_computes_every_layer_twice_and_gives_the_same_bits(
    small: RunConfig, store: Store, quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(small, store)
    frugal = spec.model_copy(update={"distill": spec.distill.model_copy(update={"checkpointing": True})})
    assert frugal.fingerprint == spec.fingerprint
    calls, make = 0, student.make_student

    def counting(spec: distill.Spec) -> Any:
        def count(*args: Any) -> None:
            nonlocal calls
            calls += 1

        student = make(spec)
        models.backbone(student).layers[1].register_forward_pre_hook(count)
        return student

    monkeypatch.setattr(distill, "make_student", counting)
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


def test_labels_select_exactly_the_solution_tokens() -> None:
    rows = [
        {"prompt_ids": [1, 2], "completion_ids": [3, 4, 5], "signal": {"hidden": torch.zeros(3, 2)}},
        {"prompt_ids": [1], "completion_ids": [6], "signal": {"hidden": torch.ones(1, 2)}},
    ]
    batch = collate([{name: torch.as_tensor(v) if "ids" in name else v for name, v in r.items()} for r in rows])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 6, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 3, 4, 5], [-100, 6, -100, -100, -100]]
    assert batch["labels"][batch["labels"] != -100].tolist() == [3, 4, 5, 6]
    assert batch["signal"]["hidden"].tolist() == [[0, 0]] * 3 + [[1, 1]]


def test_the_trainers_loss_is_the_naive_full_logit_kl_averaged_over_solution_tokens(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    spec = spec_of(small, store)
    traces = laid_out(spec, store, tmp_path)
    rows = sorted((traces[i] for i in range(8)), key=lambda r: len(r["completion_ids"]))
    rows = [rows[0], rows[-1]]
    assert len(rows[0]["completion_ids"]) < len(rows[1]["completion_ids"])
    student = student.make_student(spec)
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


def test_with_cross_entropy_alone_the_trainers_loss_is_plain_fine_tunings(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    """That of the model itself, given the same labels: mean cross-entropy of the solution tokens."""
    spec = spec_of(small, store)
    traces = laid_out(spec, store, tmp_path)
    batch, student = collate([traces[0], traces[5]]), student.make_student(spec)
    plain = {name: batch[name] for name in ("input_ids", "attention_mask", "labels")}
    expected = student(**plain).loss.item()
    alone = spec.distill.model_copy(update={"divergence": "jsd", "cross_entropy": 1.0})
    trainer = DistillTrainer(student, traces, traces, alone, tmp_path, Progress())
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
        distill.run(spec, store, Runtime())
    assert store.manifest(spec.recipe, spec.fingerprint) is None


def test_checkpoints_of_other_upstream_bytes_are_not_gone_on_with(small: RunConfig, store: Store) -> None:
    spec = spec_of(small, store)
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(6)))
    (work,) = store.directory(spec.recipe).glob("*.work")
    other = work.with_name(f"{spec.fingerprint}.0000000000000000.work")
    work.rename(other)
    assert distill.run(spec, store, Runtime()).reused == 0
    assert not other.exists()


def test_signal_of_another_head_is_refused(small: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "tensor_digest", lambda tensor: "another")
    with pytest.raises(StoreError, match="the student another\n  remedy"):
        distill.run(spec_of(small, store), store, Runtime())


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
    small: RunConfig, quick_run: Run, tmp_path: Path, noted: dict[str, Any], said: str
) -> None:
    spec = spec_of(small, quick_run.store)
    origins = laid_out(spec, quick_run.store, tmp_path).origins
    student, tokenizer = models.load_model(spec.teach[0].model, "cpu"), models.load_tokenizer(spec.teach[0].model)
    compatibility.refuse_unfit(origins, student, tokenizer)
    with pytest.raises(StoreError, match=re.escape(said)):
        compatibility.refuse_unfit([*origins, {**origins[0], **noted}], student, tokenizer)


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


def with_distill(spec: distill.Spec, **changes: Any) -> distill.Spec:
    return spec.model_copy(update={"distill": spec.distill.model_copy(update=changes)})


def with_execution(spec: distill.Spec, **changes: Any) -> distill.Spec:
    return spec.model_copy(update={"execution": spec.execution.model_copy(update=changes)})


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_traces_are_laid_out_bit_for_bit_as_the_shards_hold_them(
    small: RunConfig, quick_run: Run, tmp_path: Path
) -> None:
    spec = spec_of(small, quick_run.store)
    traces = laid_out(spec, quick_run.store, tmp_path)
    rows = []
    for manifest in (required(t, quick_run.store) for t in spec.teach):
        for table in quick_run.store.tables(manifest, None):
            rows += [(table, i) for i, reason in enumerate(table["dropped"].to_pylist()) if reason is None]
    assert len(traces) == spec.limit < len(rows)
    for (table, i), trace, length in zip(rows, traces, traces.lengths, strict=False):
        assert trace["prompt_ids"].tolist() == table["student_prompt_ids"][i].as_py()
        assert trace["completion_ids"].tolist() == table["completion_ids"][i].as_py()
        assert same(trace["signal"], codecs.from_arrow(table[layout.COLUMN], i, traces.origins[0]))
        assert length == len(trace["prompt_ids"]) + len(trace["completion_ids"])


def test_grouped_by_length_a_resumed_epoch_goes_on_in_its_order(small: RunConfig, store: Store) -> None:
    spec = with_distill(spec_of(small, store), group_by_length=True, save_steps=2)
    whole = distill.run(spec, store, Runtime())
    uninterrupted = adapter(spec, store)
    shutil.rmtree(store.directory(spec.recipe))
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(9)))  # in the second epoch
    resumed = distill.run(spec, store, Runtime())
    assert resumed.reused == 8 and resumed.manifest.stats == whole.manifest.stats
    assert same(adapter(spec, store), uninterrupted)


def test_grouped_batches_hold_traces_of_like_length_and_differ_between_epochs() -> None:
    traces: Any = UserList(range(400))
    traces.lengths = torch.randperm(400, generator=torch.Generator().manual_seed(0)).tolist()
    order = Order(traces, DistillConfig(group_by_length=True), 4)

    def padding(order: list[int]) -> int:
        batches = [[traces.lengths[i] for i in order[at : at + 4]] for at in range(0, len(order), 4)]
        return sum(max(b) * len(b) - sum(b) for b in batches)

    first = list(order)
    assert sorted(first) == list(range(400)) and list(order) == first
    assert padding(first) < padding(list(range(400))) / 10
    order.epoch = 1
    assert list(order) != first


def test_a_held_out_loss_that_rises_ends_training_and_the_best_student_is_kept(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    """Steps so large that every one makes the student worse."""
    wild = with_distill(spec_of(small, store), held_out=8, patience=2, save_steps=1, learning_rate=0.03)
    log_of, outcome = lambda spec: read_log(spec.directory(store)), distill.run(wild, store, Runtime())
    losses = [row["held_out_loss"] for row in log_of(wild)]
    best = losses.index(min(losses))
    assert outcome.manifest.stats["traces"] == wild.limit - 8
    assert len(losses) == best + 3 < 8, "two checkpoints after the best one"
    kept = PeftModel.from_pretrained(models.load_model(wild.teach[0].model, "cpu"), wild.load_adapter(store))
    traces = laid_out(wild, store, tmp_path)
    held_out = Traces(tmp_path / "traces.arrow", range(len(traces) - 8, len(traces)))
    trainer = DistillTrainer(kept, traces, held_out, wild.distill, tmp_path, Progress())
    assert trainer.evaluate()["eval_loss"] == pytest.approx(min(losses), rel=1e-5)
    calm = with_distill(wild, patience=0)
    distill.run(calm, store, Runtime())
    assert [row["held_out_loss"] for row in log_of(calm)][: len(losses)] == losses


def test_the_held_out_loss_is_the_objectives_mean_over_tokens_the_student_never_saw(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    spec = with_distill(spec_of(small, store), held_out=5)
    traces, student = laid_out(spec, store, tmp_path), student.make_student(spec)
    held_out = Traces(tmp_path / "traces.arrow", range(len(traces) - 5, len(traces)))
    trainer = DistillTrainer(student, traces, held_out, spec.distill, tmp_path, Progress())
    rows = [traces[i] for i in range(len(traces) - 5, len(traces))]
    assert trainer.evaluate()["eval_loss"] == pytest.approx(
        trainer.compute_loss(student, collate(rows)).item(), rel=1e-5
    )


@dataclass(frozen=True)
class Alone:
    """A student trained in one process, in two passes a step: what several processes must come to."""

    spec: distill.Spec
    log: list[dict[str, Any]]
    weights: dict[str, torch.Tensor]
    tokens: int

    def assert_same(self, result: Path) -> None:
        log = read_log(result)
        for name in ("loss", "grad_norm", "learning_rate", "held_out_loss"):
            expected = [row[name] for row in self.log if name in row]
            assert [row[name] for row in log if name in row] == pytest.approx(expected, rel=1e-4) and expected, name
        for name, tensor in load_file(result / "adapter" / "adapter_model.safetensors").items():
            torch.testing.assert_close(tensor, self.weights[name], rtol=1e-2, atol=1e-5)


@pytest.fixture(scope="module")
def alone(small: RunConfig, quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Alone:
    store = without_students(quick_run, tmp_path_factory.mktemp("alone") / "store")
    spec = with_distill(spec_of(small, store), held_out=5)
    assert (spec.limit - 5) % spec.distill.batch_size, "the last pass is not a whole one"
    distill.run(with_distill(spec, accumulation=2), store, Runtime())
    tokens = json.loads((spec.directory(store) / "speed.json").read_text())["tokens"]
    return Alone(spec, read_log(spec.directory(store)), adapter(spec, store), tokens)


def test_who_joins_bears_that_another_call_ends_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def join(_: object, work: Path, node: int) -> None:
        joined.append(work)
        for name in ("a", "b"):
            (tmp_path / "distill" / name / "x.work" / together.CALL).unlink()

    def over(_: float) -> None:
        raise KeyboardInterrupt

    for name in ("a", "b"):
        work = tmp_path / "distill" / name / "x.work"
        work.mkdir(parents=True)
        (work / together.CALL).write_text(json.dumps({"id": name, "spec": {"execution": {"train_nodes": 2}}}))
    joined: list[Path] = []
    monkeypatch.setattr(together, "_join", join)
    monkeypatch.setattr(together.time, "sleep", over)
    with pytest.raises(KeyboardInterrupt):
        together.join(tmp_path, 1)
    assert len(joined) == 1


def test_two_machines_have_the_loss_curve_of_one_process_with_accumulation(alone: Alone, store: Store) -> None:
    """Two launchers on loopback stand for machines: what only two hosts have, a network, is not tried."""
    endpoint = f"127.0.0.1:{free_port()}"
    joining = [sys.executable, "-m", "ssb_core.training.distributed", str(store.root), "1"]
    second, handler = subprocess.Popen(joining, stderr=subprocess.PIPE, text=True), signal.getsignal(signal.SIGINT)
    spec = with_execution(alone.spec, train_processes=2, train_nodes=2, train_endpoint=endpoint)
    steps = Counted()
    try:
        distill.run(spec, store, Runtime(steps))
    finally:
        second.send_signal(signal.SIGINT)
        told = second.communicate(timeout=120)[1]
    assert signal.getsignal(signal.SIGINT) is handler, "signals stay the pipeline's"
    assert told.count("joining") == 1 and steps.done == len(alone.log)
    alone.assert_same(spec.directory(store))
    speed = json.loads((spec.directory(store) / "speed.json").read_text())
    assert speed["tokens"] == pytest.approx(alone.tokens, abs=len(alone.log))
    assert not list(store.root.rglob("*.work"))


def test_in_parts_every_process_holds_its_share_of_each_frozen_weight_and_the_loss_curve_is_that_of_one_process(
    alone: Alone, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes break down in between: what they say is told, and training is gone on with."""
    spec, steps = with_execution(alone.spec, train_processes=2, train_sharded=True), Counted()
    monkeypatch.setattr(together, "_train", train_and_break_down)
    with pytest.raises(StoreError, match=r"training process \d of 2 failed: StoreError: no room at step 6"):
        distill.run(spec, store, Runtime(steps))
    (work,) = store.directory(spec.recipe).glob("*.work")
    both = [json.loads((work / f"{rank}.json").read_text()) for rank in range(2)]
    for name, parameter in student.make_student(alone.spec).named_parameters():
        held = [sizes[name] for sizes in both]
        assert held == [parameter.numel()] * 2 if parameter.requires_grad else sum(held) == parameter.numel(), name
    outcome = distill.run(spec, store, Runtime(steps))
    assert (outcome.reused, outcome.made) == (4, len(alone.log) - 4)
    assert steps.total == steps.done == len(alone.log)
    alone.assert_same(spec.directory(store))
    assert not list(store.root.rglob("*.work"))


def train_and_break_down(stage: str, spec: str, work: Path, checkpoint: Path | None, pipe: Path | None) -> None:
    """A training process that notes how much of each weight it holds, and fails at step 6 if it began at the first."""
    make, report = student.make_student, Report.on_step_end

    def noting(spec: distill.Spec) -> Any:
        student = make(spec)
        sizes = {n: (p.to_local() if hasattr(p, "to_local") else p).numel() for n, p in student.named_parameters()}
        (work / f"{os.environ['RANK']}.json").write_text(json.dumps(sizes))
        return student

    def failing(self: Report, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        report(self, args, state, control)
        if state.global_step == 6 and checkpoint is None:
            raise StoreError("no room at step 6")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distill, "make_student", noting)
        patch.setattr(Report, "on_step_end", failing)
        together._train(stage, spec, work, checkpoint, pipe)


def test_a_run_killed_between_an_early_stop_and_its_commit_ends_as_it_would_have(
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
    assert same(adapter(wild, store), weights)


def test_a_training_process_that_runs_out_of_memory_may_be_tried_again(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    spec = spec_of(small, store)
    lay_out_beyond_memory(spec, store, tmp_path / distill.DATA)
    with pytest.raises(StageError, match=r"^training process 0 of 1 failed: ArrowMemoryError: ") as failed:
        together.launch(spec, 0, tmp_path, None, None)
    assert may_pass(failed.value)


def lay_out_beyond_memory(spec: distill.Spec, store: Store, path: Path) -> None:
    """Compressed traces that claim to be a million terabytes when they are not."""
    distill.lay_out(spec, store, [required(t, store) for t in spec.teach], path)
    table = pa.ipc.open_file(str(path)).read_all().combine_chunks()
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    size = struct.pack("<q", table["completion_ids"].chunk(0).values.nbytes)
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<q", 2**60)))


@pytest.mark.parametrize(("code", "passes"), [(-signal.SIGKILL, True), (together.MAY_PASS, True), (1, False)])
def test_a_killed_training_process_may_be_tried_again_and_one_that_failed_may_not(code: int, passes: bool) -> None:
    died = ProcessFailure(local_rank=1, pid=7, exitcode=code, error_file="")
    failure = together._failure(ChildFailedError("train", {1: died}), 2)
    assert str(failure).startswith("training process 1 of 2 failed: ") and may_pass(failure) == passes


class Counted(Progress):
    """How many steps were announced and done."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.total, self.done = total, done

    def advance(self, n: int = 1) -> None:
        self.done += n


@pytest.mark.parametrize(("codec", "nbytes"), [("topk", 8 * 16 + 4), ("dense", 2 * 570)])
def test_students_learn_from_other_codecs_without_another_sample(
    codec: str, nbytes: int, small: RunConfig, store: Store
) -> None:
    settings = small.model_copy(update={"teach": small.teach.model_copy(update={"codec": codec, "k": 16})})
    made = {}
    for request in Pipeline.of(settings, store.root).walk(store):
        if request.spec.stage == "evaluate":
            break
        made[f"{request.spec.stage} {type(request.spec).__name__}"] = execute(request.spec, store, Runtime())
    assert made["rollouts Spec"].made == made["select Spec"].made == 0 < made["teach Spec"].made
    (origin_, *_) = load_signal_metadata(store, made["teach Spec"].manifest)
    assert origin_["codec"] == f"{codec}/2" and layout.bytes_per_token(origin_) == nbytes
    assert 0 <= origin_["max_kl_error"] < 1e-5
    log = read_log(spec_of(settings, store).directory(store))
    assert sum(row["loss"] for row in log[6:]) < sum(row["loss"] for row in log[:6])


def test_curves_for_tensorboard_stay_beside_the_adapter(small: RunConfig, store: Store) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = with_execution(spec_of(small, store), report_to=("tensorboard",))
    outcome = distill.run(spec, store, Runtime())
    events = EventAccumulator(str(spec.directory(store) / CURVES)).Reload()
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses == pytest.approx([row["loss"] for row in read_log(spec.directory(store))])
    assert not any(CURVES in entry.path for entry in outcome.manifest.files)


def test_curves_of_a_resumed_training_show_each_step_once(small: RunConfig, store: Store) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = with_execution(spec_of(small, store), report_to=("tensorboard",))
    with pytest.raises(InterruptedError):
        distill.run(spec, store, Runtime(StopsAfter(6)))
    steps = distill.run(spec, store, Runtime()).manifest.stats["steps"]
    events = EventAccumulator(str(spec.directory(store) / CURVES)).Reload()
    assert [event.step for event in events.Scalars("train/loss")] == list(range(1, steps + 1))


def test_reports_whose_package_is_missing_are_refused_before_any_work(
    small: RunConfig, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "find_spec", lambda name: None)
    wanted = small.model_copy(update={"execution": small.execution.model_copy(update={"report_to": ("wandb",)})})
    with pytest.raises(ConfigError, match=r"execution\.report_to: wandb is not installed"):
        Pipeline.of(wanted, store.root)
