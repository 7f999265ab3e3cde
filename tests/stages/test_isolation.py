"""Stages in fresh processes: what they forward, how they fail, and that they end."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from pydantic import ValidationError

from ssb_core import stages
from ssb_core.config import RunConfig
from ssb_core.config.execution import Execution, StageName, Workers
from ssb_core.errors import StageError, StoreError, may_pass
from ssb_core.progress import Progress
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline, WaveSpecs
from ssb_core.stages import isolation
from ssb_core.stages.isolation import StageProcess, StageRunner, isolated
from ssb_core.store import Store
from tests.support.listeners import Recorded
from tests.support.processes import FAULTY, gone
from tests.support.served import until


def wave_of(settings: RunConfig, store: Store, **execution: Any) -> WaveSpecs:
    changed = settings.execution.model_copy(update={"isolate": "always", **execution})
    wave = Pipeline.of(settings.model_copy(update={"execution": changed}), store.root).next_wave([], 0)
    assert wave
    return wave


def children() -> list[psutil.Process]:
    return [p for p in psutil.Process().children(recursive=True) if not gone(p)]


@pytest.fixture(autouse=True)
def nothing_is_left_behind(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    scratch = tmp_path_factory.mktemp("scratch")
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    before = {p.pid for p in children()}
    yield
    assert {p.pid for p in children()} <= before and list(scratch.iterdir()) == []


def test_a_killed_process_is_named_and_its_finished_shards_are_kept(
    small: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "store")
    spec = wave_of(small, store).rollouts
    monkeypatch.setenv("PYTHONPATH", FAULTY)
    monkeypatch.setenv("SSB_TEST_FAULTS", str(tmp_path))
    (tmp_path / "rollouts").write_text("slow 5")

    def kill_after_a_shard() -> None:
        until(lambda: bool(list(store.root.glob("rollouts/*/shards/*.json"))), 150)
        assert runner.process
        runner.process.child.kill()

    first, second = Recorded(), Recorded()
    with StageRunner() as runner, ThreadPoolExecutor() as killer:
        with pytest.raises(
            StageError, match="was killed by SIGKILL; the kernel does this when memory runs out"
        ) as killed:
            kill = killer.submit(kill_after_a_shard)
            runner.execute(spec, store, first)
        kill.result()
        (tmp_path / "rollouts").unlink()
        times = {p: p.stat().st_mtime_ns for p in store.root.glob("rollouts/*/shards/*.parquet")}
        outcome = runner.execute(spec, store, second)
    assert may_pass(killed.value)
    assert outcome.reused >= 1 and outcome.made + outcome.reused == 2
    assert all(p.stat().st_mtime_ns == t for p, t in times.items() if p.with_suffix(".json").exists())
    samples = stages.required(spec, store).stats["samples"]
    assert ("begin", "rollouts", samples, "samples", 0) in first.calls
    (before,) = (c[4] for c in second.calls if c[:2] == ("begin", "rollouts"))
    assert before > 0 and sum(c[1] for c in second.calls if c[0] == "advance") >= samples - before


def test_a_finished_request_needs_neither_its_engine_nor_its_device(
    small: RunConfig, quick_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("a finished request asks for no device and no engine")

    monkeypatch.setattr(isolation, "pick_device", refuse)
    monkeypatch.setattr(isolation.engines, "choose_local", refuse)
    wave = wave_of(small, quick_run.store, isolate="auto", engine="vllm")
    with StageRunner() as runner:
        for spec in (wave.rollouts, wave.select, wave.teach):
            assert runner.execute(spec, quick_run.store, Progress()).made == 0


def test_a_wave_in_fresh_processes_has_the_same_bytes_and_loads_the_engine_once(
    small: RunConfig, quick_run: Run, tmp_path: Path
) -> None:
    store, pids = Store(tmp_path / "store"), []
    wave = wave_of(small, store)
    with StageRunner() as runner:
        for spec in (wave.rollouts, wave.select, wave.teach.solutions):
            runner.execute(spec, store, Progress())
            assert runner.process
            pids.append(runner.process.child.pid)
        runner.execute(wave.teach, store, Progress())
        assert runner.process is None  # the signal was captured in a process without an engine, which ended at once
    assert len(set(pids)) == 1
    for spec in (wave.rollouts, wave.select, wave.teach.solutions, wave.teach):
        isolated_here = stages.required(spec, store)
        in_process = quick_run.store.manifest(spec.recipe, spec.fingerprint)
        assert in_process and isolated_here.files == in_process.files[: len(isolated_here.files)]


def test_a_crash_shows_the_end_of_the_log_and_refusals_keep_their_type(
    small: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_late(process: StageProcess, pipe: IO[str]) -> None:
        process.child.wait()
        read(process, pipe)

    read = StageProcess._read_log
    monkeypatch.setattr(
        StageProcess, "_read_log", read_late
    )  # as on a busy machine, where its answer is read before its log
    lines: list[str] = []
    store = Store(tmp_path / "store")
    wave = wave_of(small, store)
    broken = wave.rollouts.model_copy(
        update={"model": wave.rollouts.model.model_copy(update={"source": str(tmp_path / "gone")})}
    )
    with StageRunner(lines.append) as runner:
        with pytest.raises(StoreError, match="run stage select first"):
            runner.execute(wave.teach, store, Progress())
        with pytest.raises(StageError) as failed:
            runner.execute(broken, store, Progress())
    assert not may_pass(failed.value)
    message = str(failed.value)
    assert message.startswith("stage rollouts failed: OSError: ")
    assert message.index("errors in its log:\n  | ") < message.index("the end of its log:\n  | ")
    assert any(line.startswith("Traceback") for line in lines)


def test_a_stage_that_takes_too_long_is_killed_and_not_tried_again(small: RunConfig, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    wave = wave_of(small, store, timeout_hours=0.5 / 3600)  # before the child has even imported torch
    with (
        StageRunner() as runner,
        pytest.raises(StageError, match=r"exceeded its time limit .*\.timeout_hours") as late,
    ):
        runner.execute(wave.rollouts, store, Progress())
    assert not may_pass(late.value)


def test_a_stage_with_its_own_deadline_is_isolated_to_be_killed(
    small: RunConfig, quick_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(quick_run.store.root, tmp_path / "store", ignore=shutil.ignore_patterns("select"))
    store = Store(tmp_path / "store")
    limits = {StageName.rollouts: 1.0, StageName.select: 0.5 / 3600}
    wave = wave_of(small, store, isolate="auto", stage_timeout_hours=limits)
    assert isolated(wave.rollouts) and isolated(wave.select) and not isolated(wave.teach)
    with StageRunner() as runner, pytest.raises(StageError, match="stage select exceeded its time limit"):
        runner.execute(wave.select, store, Progress())
    with pytest.raises(ValidationError, match=r"isolate must not be never"):
        Execution(isolate="never", stage_timeout_hours=limits)


ORPHAN = """
import sys
from pathlib import Path
from ssb_core.stages.isolation import StageProcess
process = StageProcess(lambda line: None)
print(process.child.pid, flush=True)
sys.stdin.read()
"""


def test_the_process_does_not_outlive_a_killed_parent() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", ORPHAN], stdin=pipe, stdout=pipe, text=True) as parent:
        assert parent.stdout
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
    child.wait(timeout=60)


def test_workers_replace_the_fresh_process_only_where_there_are_some(small: RunConfig, tmp_path: Path) -> None:
    wave = wave_of(small, Store(tmp_path / "store"), workers=Workers(count=2))
    assert not isolated(wave.rollouts, workers=True) and isolated(wave.rollouts)
    alone = wave_of(small, Store(tmp_path / "store"))
    assert isolated(alone.rollouts, workers=True), "it asks for no workers"


def test_auto_isolates_on_cuda_with_vllm_and_for_training_in_several_processes(
    small: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = wave_of(small, Store(tmp_path / "store"))

    def apart(spec: stages.Spec = wave.rollouts, **execution: Any) -> bool:
        return isolated(spec.model_copy(update={"execution": Execution(**execution)}))

    assert not apart(device="cpu", engine="transformers")
    assert apart(device="cpu", isolate="always") and not apart(wave.select, isolate="always")
    assert not apart(isolate="never")
    student = stages.distill.Spec(teach=(wave.teach,), limit=1, distill=small.distill, execution=Execution())
    assert apart(student, device="cpu", train_processes=2) and not apart(student, device="cpu")
    assert not apart(device="cpu", train_processes=2)
    with monkeypatch.context() as installed:
        installed.setattr(import_module("ssb_core.engines.choose"), "_obstacle_to_vllm", lambda device: None)
        assert apart(device="cpu", engine="vllm")
        assert apart(device="cpu", engine="openai")  # which samples students here
    monkeypatch.setattr(isolation, "pick_device", lambda device: "cuda")
    assert apart(engine="transformers") and not apart(isolate="never") and not apart(wave.select)
