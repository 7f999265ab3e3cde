"""Training in several processes and on several machines: the same loss curve, and failures by name."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from ssb_core.config import RunConfig
from ssb_core.errors import StageError, StoreError, may_pass
from ssb_core.runs import Run
from ssb_core.stages import Runtime, distill, required
from ssb_core.store import Store
from ssb_core.training import distill as training
from ssb_core.training import distributed
from ssb_core.training.callbacks import Report
from ssb_core.training.job import TrainingJob
from ssb_core.training.log import read_log
from ssb_core.training.student import make_student
from tests.support.processes import free_port
from tests.support.training import (
    Counted,
    adapter,
    spec_of,
    trained_tokens,
    with_distill,
    with_execution,
    without_students,
)


@dataclass(frozen=True)
class SingleProcess:
    """A student that one process trained in two passes a step. Several processes must train the same."""

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
def single(small: RunConfig, quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> SingleProcess:
    store = without_students(quick_run, tmp_path_factory.mktemp("single") / "store")
    spec = with_distill(spec_of(small, store), held_out=5)
    assert (spec.limit - 5) % spec.distill.batch_size, "the last pass must be a part of one"
    distill.run(with_distill(spec, accumulation=2), store, Runtime())
    directory = spec.directory(store)
    return SingleProcess(spec, read_log(directory), adapter(spec, store), trained_tokens(directory))


def test_joining_survives_that_another_call_ends_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def join(_: object, work_dir: Path, node: int) -> None:
        joined.append(work_dir)
        for name in ("a", "b"):
            (tmp_path / "distill" / name / "x.work" / distributed.CALL).unlink()

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    for name in ("a", "b"):
        work_dir = tmp_path / "distill" / name / "x.work"
        work_dir.mkdir(parents=True)
        (work_dir / distributed.CALL).write_text(json.dumps({"id": name, "job": {"execution": {"train_nodes": 2}}}))
    joined: list[Path] = []
    monkeypatch.setattr(distributed, "_join", join)
    monkeypatch.setattr(distributed.time, "sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        distributed.join(tmp_path, 1)
    assert len(joined) == 1


def test_two_machines_have_the_loss_curve_of_one_process(single: SingleProcess, store: Store) -> None:
    """Two launchers on loopback stand for machines. A real network is not tested."""
    endpoint = f"127.0.0.1:{free_port()}"
    joining = [sys.executable, "-m", "ssb_core.training.distributed", str(store.root), "1"]
    second, handler = subprocess.Popen(joining, stderr=subprocess.PIPE, text=True), signal.getsignal(signal.SIGINT)
    spec = with_execution(single.spec, train_processes=2, train_nodes=2, train_endpoint=endpoint)
    steps = Counted()
    try:
        distill.run(spec, store, Runtime(steps))
    finally:
        second.send_signal(signal.SIGINT)
        log = second.communicate(timeout=120)[1]
    assert signal.getsignal(signal.SIGINT) is handler, "the pipeline still handles signals"
    assert log.count("joining") == 1 and steps.done == len(single.log)
    single.assert_same(spec.directory(store))
    assert trained_tokens(spec.directory(store)) == pytest.approx(single.tokens, abs=len(single.log))
    assert not list(store.root.rglob("*.work"))


def test_sharded_processes_share_frozen_weights_and_resume_to_the_same_curve(
    single: SingleProcess, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes fail in between: the error has their message, and the next try resumes."""
    spec, steps = with_execution(single.spec, train_processes=2, train_sharded=True), Counted()
    monkeypatch.setattr(distributed, "_train", train_and_break_down)
    with pytest.raises(StoreError, match=r"training process \d of 2 failed: StoreError: no room at step 6"):
        distill.run(spec, store, Runtime(steps))
    (work_dir,) = store.directory(spec.recipe).glob("*.work")
    both = [json.loads((work_dir / f"{rank}.json").read_text()) for rank in range(2)]
    for name, parameter in make_student(single.spec.job).named_parameters():
        held = [sizes[name] for sizes in both]
        assert held == [parameter.numel()] * 2 if parameter.requires_grad else sum(held) == parameter.numel(), name
    outcome = distill.run(spec, store, Runtime(steps))
    assert (outcome.reused, outcome.made) == (4, len(single.log) - 4)
    assert steps.total == steps.done == len(single.log)
    single.assert_same(spec.directory(store))
    assert not list(store.root.rglob("*.work"))


def train_and_break_down(job: str, work_dir: Path, checkpoint: Path | None, pipe: Path | None) -> None:
    """A training process that notes its share of each weight, and fails at step 6 unless it resumes."""
    report = Report.on_step_end

    def noting(job: TrainingJob) -> Any:
        student = make_student(job)
        sizes = {n: (p.to_local() if hasattr(p, "to_local") else p).numel() for n, p in student.named_parameters()}
        (work_dir / f"{os.environ['RANK']}.json").write_text(json.dumps(sizes))
        return student

    def failing(self: Report, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        report(self, args, state, control)
        if state.global_step == 6 and checkpoint is None:
            raise StoreError("no room at step 6")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "make_student", noting)
        patch.setattr(Report, "on_step_end", failing)
        distributed._train(job, work_dir, checkpoint, pipe)


def test_a_training_process_that_runs_out_of_memory_may_be_tried_again(
    small: RunConfig, store: Store, tmp_path: Path
) -> None:
    spec = spec_of(small, store)
    write_beyond_memory(spec, store, tmp_path / training.DATA)
    with pytest.raises(StageError, match=r"^training process 0 of 1 failed: ArrowMemoryError: ") as failed:
        distributed.launch(spec.job, 0, tmp_path, None, None)
    assert may_pass(failed.value)


def write_beyond_memory(spec: distill.Spec, store: Store, path: Path) -> None:
    """Write compressed traces that claim to be a million terabytes."""
    distill.write_dataset(spec, store, [required(t, store) for t in spec.teach], path)
    table = pa.ipc.open_file(str(path)).read_all().combine_chunks()
    with pa.ipc.new_file(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    size = struct.pack("<q", table["completion_ids"].chunk(0).values.nbytes)
    path.write_bytes(path.read_bytes().replace(size, struct.pack("<q", 2**60)))


@pytest.mark.parametrize(("code", "passes"), [(-signal.SIGKILL, True), (distributed.MAY_PASS, True), (1, False)])
def test_a_killed_training_process_may_be_tried_again_a_failed_one_not(code: int, passes: bool) -> None:
    died = ProcessFailure(local_rank=1, pid=7, exitcode=code, error_file="")
    failure = distributed._failure(ChildFailedError("train", {1: died}), 2)
    assert str(failure).startswith("training process 1 of 2 failed: ") and may_pass(failure) == passes
