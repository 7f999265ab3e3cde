"""The same pipeline on an NVIDIA GPU: run with ``pytest -m gpu tests/gpu``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ssb_core import models, problems, prompts
from ssb_core.config import Decoding, ProblemsConfig, RunConfig
from ssb_core.config.execution import Execution
from ssb_core.engines import SampleRequest, open_sampler, seed_for
from ssb_core.progress import Progress
from ssb_core.records import Completion
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import Runtime
from ssb_core.stages.execute import execute
from ssb_core.stages.isolation import StageRunner
from ssb_core.store import Store
from tests.support.runs import run_stages
from tests.support.sampling import sampled

pytestmark = pytest.mark.gpu


def greedy(nano: models.ResolvedModel, device: str) -> list[Completion]:
    problem_set = problems.load_problems(ProblemsConfig(source="nano-test", limit=200))
    with open_sampler(nano, Execution(device=device)) as sampler:
        requests = [SampleRequest(sampler.encode(prompts.tutor_messages(p.question)), 0) for p in problem_set]
        return sampled(sampler, requests, Decoding(temperature=0.0, max_new_tokens=160))


def test_greedy_completions_agree_with_the_cpu(nano: models.ResolvedModel) -> None:
    same = [a == b for a, b in zip(greedy(nano, "cpu"), greedy(nano, "cuda"), strict=True)]
    assert sum(same) >= 0.99 * len(same)


def test_the_small_pipeline_runs_and_certifies_its_signal(small: RunConfig, tmp_path: Path) -> None:
    on_gpu = small.model_copy(update={"execution": small.execution.model_copy(update={"device": "cuda"})})
    run: Run = run_stages(on_gpu, Store(tmp_path / "store"), tmp_path / "run")
    assert run.load_summary()["yield"]["taught"] >= 24
    assert run.load_summary()["signal"]["max_kl_error"] < 1e-4


def free() -> int:
    return torch.cuda.mem_get_info()[0]


def test_rollouts_share_no_process_with_a_stage_that_loads_the_model_itself(small: RunConfig, tmp_path: Path) -> None:
    """On a GPU isolation is the default. The memory of the engine is free again before signal is captured."""
    store, before = Store(tmp_path / "store"), free()
    wave = Pipeline.of(small, store.root).next_wave([], 0)
    assert wave
    with StageRunner() as runner:
        runner.execute(wave.rollouts, store, Progress())
        assert runner.process and free() < before
        execute(wave.select, store, Runtime())
        runner.execute(wave.teach, store, Progress())
        assert runner.process is None and free() >= before - 2**26
    assert free() >= before - 2**26


def test_out_of_memory_halves_the_batch_and_changes_no_completion(nano: models.ResolvedModel) -> None:
    problem_set = problems.load_problems(ProblemsConfig(source="nano-test", limit=512))
    warm = Decoding(temperature=0.8, max_new_tokens=64)
    with open_sampler(nano, Execution(device="cuda", batch_size=512, engine="transformers")) as sampler:
        requests = [SampleRequest(sampler.encode(prompts.tutor_messages(p.question)), 1) for p in problem_set]
        expected = sampled(sampler, requests, warm)
        torch.cuda.empty_cache()
        room = torch.cuda.memory_allocated() + 2**26
        torch.cuda.set_per_process_memory_fraction(room / torch.cuda.get_device_properties(0).total_memory)
        try:
            completions = sampled(sampler, requests, warm)
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        assert sampler.batch_size < 512  # type: ignore[attr-defined]
    assert sum(a == b for a, b in zip(completions, expected, strict=True)) >= 0.99 * len(expected)


@pytest.mark.parametrize("replicas", [1, 2])
def test_vllm_writes_what_transformers_writes(nano: models.ResolvedModel, replicas: int) -> None:
    pytest.importorskip("vllm")
    if torch.cuda.device_count() < replicas:
        pytest.skip(f"needs {replicas} GPUs")
    warm = Decoding(temperature=0.8, max_new_tokens=160)
    problem_set = problems.load_problems(ProblemsConfig(source="nano-test", limit=200))
    completions = []
    for engine in ("transformers", "vllm"):
        options = {"data_parallel_size": replicas, "gpu_memory_utilization": 0.3}
        execution = Execution.model_validate({"device": "cuda", "engine": engine, "vllm": options})
        with open_sampler(nano, execution) as sampler:
            encoded = [(p.id, sampler.encode(prompts.tutor_messages(p.question))) for p in problem_set]
            completions.append(
                sampled(sampler, [SampleRequest(ids, seed_for("test", 0, i, 0)) for i, ids in encoded], warm)
            )
    assert sum(a == b for a, b in zip(*completions, strict=True)) >= 0.99 * len(problem_set)
