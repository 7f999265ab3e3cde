"""The same pipeline on an NVIDIA GPU: run with ``pytest -m gpu tests/gpu``."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core import models, problems, prompts
from ssb_core.config import Decoding, Execution, ProblemsConfig, RunConfig
from ssb_core.engines import Request, open_sampler
from ssb_core.records import Completion
from ssb_core.runs import Run
from ssb_core.store import Store
from tests.conftest import run_stages, sampled

pytestmark = pytest.mark.gpu


def greedy(nano: models.ResolvedModel, device: str) -> list[Completion]:
    asked = problems.load(ProblemsConfig(source="nano-test", limit=200))
    with open_sampler(nano, Execution(device=device)) as sampler:
        requests = [Request(sampler.encode(prompts.tutor_messages(p.question)), 0) for p in asked]
        return sampled(sampler, requests, Decoding(temperature=0.0, max_new_tokens=160))


def test_greedy_completions_agree_with_the_cpu(nano: models.ResolvedModel) -> None:
    same = [a == b for a, b in zip(greedy(nano, "cpu"), greedy(nano, "cuda"), strict=True)]
    assert sum(same) >= 0.99 * len(same)


def test_the_small_pipeline_runs_and_certifies_its_signal(small: RunConfig, tmp_path: Path) -> None:
    on_gpu = small.model_copy(update={"execution": small.execution.model_copy(update={"device": "cuda"})})
    run: Run = run_stages(on_gpu, Store(tmp_path / "store"), tmp_path / "run")
    assert run.summary["yield"]["taught"] >= 24
    assert run.summary["signal"]["max_kl_error"] < 1e-4
