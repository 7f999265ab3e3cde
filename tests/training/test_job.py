"""A training job as JSON, for torchrun's processes and other machines."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssb_core.config import DistillConfig, GrpoConfig, RunConfig
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages.directory import TrainedSpec
from ssb_core.training.job import TrainingJob


@pytest.fixture(scope="module")
def specs(small: RunConfig) -> list[TrainedSpec]:
    """The student and every baseline."""
    config = small.model_copy(update={"baselines": ("sft", "rft", "ssb-no-wrong", "grpo")})
    pipeline = Pipeline.of(config, Path("store"))
    return list(pipeline.students([pipeline.wave(0, 32)]))


def test_a_job_survives_json_with_the_kind_of_its_settings(specs: list[TrainedSpec]) -> None:
    kinds = {}
    for spec in specs:
        job: TrainingJob = spec.job  # type: ignore[attr-defined]
        for text in (job.model_dump_json(), json.dumps(job.model_dump(mode="json"))):
            loaded = TrainingJob.model_validate_json(text)
            assert loaded == job and type(loaded.settings) is type(job.settings)
        kinds[spec.stage] = type(job.settings)
    assert kinds.pop("grpo") is GrpoConfig and set(kinds.values()) == {DistillConfig}


def test_a_job_has_the_model_the_settings_and_the_execution_of_its_request(specs: list[TrainedSpec]) -> None:
    ssb, *others = specs
    grpo = others[-1]
    assert ssb.job.label == "distill" and ssb.job.settings == ssb.distill and ssb.job.model == ssb.teach[0].model  # type: ignore[attr-defined]
    assert grpo.job.label == "grpo" and grpo.job.settings == grpo.grpo and grpo.job.model == grpo.model  # type: ignore[attr-defined]
    for spec in specs:
        job: TrainingJob = spec.job  # type: ignore[attr-defined]
        assert job.execution == spec.execution
        assert (job.lora_rank, job.lora_alpha) == (ssb.distill.lora_rank, ssb.distill.lora_alpha)  # type: ignore[attr-defined]


def test_text_baselines_train_on_cross_entropy_alone(specs: list[TrainedSpec]) -> None:
    weights = {s.stage: s.job.settings.cross_entropy for s in specs if s.stage != "grpo"}  # type: ignore[attr-defined]
    assert weights["sft"] == weights["rft"] == 1.0 and weights["distill"] == weights["ssb-no-wrong"] == 0.0
