"""The vLLM engine compared with the transformers engine, on the embedded model. Run with ``make test-vllm``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from ssb_core import models, problems, prompts, stages
from ssb_core.config import Decoding, ProblemsConfig, RunConfig
from ssb_core.config.execution import Execution, VllmOptions
from ssb_core.engines import Sampler, SampleRequest, open_sampler, seed_for
from ssb_core.engines.choose import choose
from ssb_core.errors import ConfigError, StageError
from ssb_core.progress import Progress
from ssb_core.records import Completion
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages.isolation import StageRunner
from ssb_core.store import Manifest, Store
from tests.support.sampling import sampled

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(600)]
WARM = Decoding(temperature=0.8, max_new_tokens=160)
GREEDY = Decoding(temperature=0.0, max_new_tokens=160)
QUICK = VllmOptions(enforce_eager=True, kv_cache_gib=0.5)
VLLM = Execution(engine="vllm", device="cpu", vllm=QUICK)


@pytest.fixture(scope="module")
def vllm(nano: models.ResolvedModel) -> Iterator[Sampler]:
    with open_sampler(nano, VLLM) as sampler:
        yield sampler


@pytest.fixture(scope="module")
def requests(nano: models.ResolvedModel) -> list[SampleRequest]:
    """Two requests for each of 200 problems; both have the same prompt."""
    tokenizer = models.load_tokenizer(nano)
    problem_set = problems.load_problems(ProblemsConfig(source="nano-test", limit=200))
    prompt_ids = {p.id: prompts.encode(tokenizer, prompts.tutor_messages(p.question)) for p in problem_set}
    return [SampleRequest(prompt_ids[p.id], seed_for("test", 0, p.id, i)) for p in problem_set for i in range(2)]


def by_transformers(
    nano: models.ResolvedModel, requests: Sequence[SampleRequest], decoding: Decoding, adapter: Path | None = None
) -> list[Completion]:
    with open_sampler(nano, Execution(engine="transformers", device="cpu"), adapter) as sampler:
        return sampled(sampler, requests, decoding)


def agreement(one: Sequence[Completion], other: Sequence[Completion]) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


@pytest.mark.parametrize("decoding", [GREEDY, WARM], ids=["greedy", "sampled"])
def test_both_engines_write_the_same_completions(
    nano: models.ResolvedModel, vllm: Sampler, requests: list[SampleRequest], decoding: Decoding
) -> None:
    completions = sampled(vllm, requests, decoding)
    assert agreement(completions, by_transformers(nano, requests, decoding)) >= 0.99
    assert all(c.completion_ids[-1] == vllm.stop_ids[0] for c in completions if c.finish_reason == "stop")  # type: ignore[attr-defined]


def test_the_token_cap_is_kept_and_named(vllm: Sampler, requests: list[SampleRequest]) -> None:
    short = sampled(vllm, requests[:20], Decoding(temperature=0.8, max_new_tokens=5))
    assert {(len(c.completion_ids), c.finish_reason) for c in short} == {(5, "length")}


def test_groups_are_read_ahead_so_that_a_slow_one_does_not_idle_the_engine(
    vllm: Sampler, requests: list[SampleRequest]
) -> None:
    read: list[int] = []

    def groups() -> Iterator[tuple[int, list[SampleRequest]]]:
        for n in range(6):
            read.append(n)
            yield n, requests[n * 8 : n * 8 + 8]

    stream = vllm.sample(groups(), WARM, Progress())
    first = next(stream)
    assert read == list(range(6))
    completions = dict([first, *stream])
    whole = sampled(vllm, requests[:48], WARM)
    assert completions == {n: whole[n * 8 : n * 8 + 8] for n in range(6)}


def test_a_context_too_large_for_memory_is_cut_and_longer_prompts_are_refused(
    nano: models.ResolvedModel, requests: list[SampleRequest], tmp_path: Path
) -> None:
    """The default of 4 GiB on a CPU holds less than the context of many models."""
    shutil.copytree(nano.source, tmp_path / "long")
    settings = json.loads((tmp_path / "long" / "config.json").read_text())
    settings["max_position_embeddings"] = 1_000_000
    (tmp_path / "long" / "config.json").write_text(json.dumps(settings))
    little = VLLM.model_copy(update={"vllm": QUICK.model_copy(update={"kv_cache_gib": 0.1})})
    with open_sampler(nano.model_copy(update={"source": str(tmp_path / "long")}), little) as sampler:
        limit = sampler.limit  # type: ignore[attr-defined]
        assert 10_000 < limit < 1_000_000
        assert sampler.fits((1,) * (limit - 160), WARM) and not sampler.fits((1,) * 1_000_000, WARM)
        with pytest.raises(ConfigError, match=rf"only {limit} are allowed by .*execution\.vllm\.kv_cache_gib"):
            sampler.fits((1,) * limit, WARM)
        assert len(sampled(sampler, requests[:4], WARM)) == 4


def test_our_draw_is_used_though_vllm_prefers_a_runner_without_processors(
    nano: models.ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """vLLM prefers that runner on CUDA, where Triton works."""
    from vllm.v1.engine.input_processor import InputProcessor

    from ssb_core.engines.vllm_engine import engine_args

    monkeypatch.setattr("vllm.config.vllm.HAS_TRITON", True)
    InputProcessor(engine_args(nano, VLLM, None).create_engine_config())
    monkeypatch.delenv("VLLM_USE_V2_MODEL_RUNNER")
    with pytest.raises(ValueError, match="SeededDraw is not a subclass"):
        InputProcessor(engine_args(nano, VLLM, None).create_engine_config())


def test_a_model_without_safetensors_is_not_unpickled(nano: models.ResolvedModel, tmp_path: Path) -> None:
    """vLLM chooses the files of a hub model itself, and they were not checked before."""
    from vllm.model_executor.model_loader.default_loader import DefaultModelLoader

    from ssb_core.engines.vllm_engine import engine_args

    loader = DefaultModelLoader(engine_args(nano, VLLM, None).create_load_config())
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(RuntimeError, match="Cannot find any model weights"):
        loader._prepare_weights(str(tmp_path), None, None, True, None)
    (tmp_path / "model.safetensors").touch()
    weights = loader._prepare_weights(str(tmp_path), None, None, True, None)
    assert weights[1:3] == ([f"{tmp_path}/model.safetensors"], True)


@pytest.mark.parametrize(
    "settings",
    [[], [1, 0.8], "abc", 7, [5, "0.8", 50], [1, 0.8, 2.5], [1, 0.8, "50"], [-1, 0.8, 50], [1, 0, 50], [1, 0.8, -1]],
)
def test_bad_settings_of_the_draw_are_refused_before_they_reach_the_engine(settings: Any) -> None:
    from vllm import SamplingParams

    from ssb_core.engines.vllm_engine import SeededDraw

    with pytest.raises(ValueError, match="a list of a seed"):
        SeededDraw.validate_params(SamplingParams(extra_args={"ssb": settings}))
    SeededDraw.validate_params(SamplingParams(extra_args={"ssb": [2**63 - 1, 0.8, 0]}))


@pytest.mark.parametrize("adapters", ["served", "merged"])
def test_a_student_is_sampled_as_an_adapter_or_merged(
    adapters: str, nano: models.ResolvedModel, quick_run: Run, requests: list[SampleRequest]
) -> None:
    manifest = quick_run.manifests("distill")[0]
    adapter = quick_run.store.path(manifest, manifest.files[0]).parent
    assert (adapter / "adapter_config.json").exists()
    options = VllmOptions.model_validate({**QUICK.model_dump(), "adapters": adapters})
    with open_sampler(nano, VLLM.model_copy(update={"vllm": options}), adapter) as sampler:
        student = sampled(sampler, requests, GREEDY)
    assert not list(Path(tempfile.gettempdir()).glob("ssb-student-*"))
    assert agreement(student, by_transformers(nano, requests, GREEDY, adapter)) >= 0.99
    assert student != by_transformers(nano, requests, GREEDY)


def rollouts_of(settings: RunConfig, store: Store, execution: Execution) -> stages.Spec:
    changed = settings.model_copy(update={"execution": execution.model_copy(update={"shard_size": 16})})
    wave = Pipeline.of(changed, store.root).next_wave([], 0)
    assert wave
    return wave.rollouts


def texts(store: Store, manifest: Manifest) -> dict[tuple[str, int], str]:
    """Every rollout by problem and index."""
    return {(r["problem_id"], r["index"]): r["text"] for t in store.tables(manifest) for r in t.to_pylist()}


class Kill(Progress):
    """Kills a runner's process with all that it started, or the processes of one name, once something is sampled."""

    def __init__(self, runner: StageRunner, name: str = "", after: Callable[[], Any] = lambda: True) -> None:
        self.runner, self.name, self.after = runner, name, after

    def advance(self, n: int = 1) -> None:
        if self.runner.process and self.after():
            child = psutil.Process(self.runner.process.child.pid)
            for process in (child, *child.children(recursive=True)):
                if process.name().startswith(self.name):
                    os.kill(process.pid, signal.SIGKILL)


def test_a_stage_killed_with_transformers_and_resumed_with_vllm_keeps_its_shards(
    small: RunConfig, quick_run: Run, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    slow = Execution(
        engine="transformers", device="cpu", isolate="always", batch_size=8
    )  # killed inside the second shard
    shards = partial(store.root.glob, "rollouts/*/shards/*.json")
    with StageRunner() as runner, pytest.raises(StageError, match="SIGKILL"):
        runner.execute(rollouts_of(small, store, slow), store, Kill(runner, after=lambda: any(shards())))
    tables = store.root.glob("rollouts/*/shards/*.parquet")
    kept = {p: p.stat().st_mtime_ns for p in tables if p.with_suffix(".json").exists()}
    assert kept
    with StageRunner() as runner:
        spec = rollouts_of(small, store, VLLM)
        outcome = runner.execute(spec, store, Progress())
        assert runner.process  # vLLM is isolated, and stays for the teacher's solutions
    assert outcome.reused == len(kept) and outcome.made >= 1
    assert all(p.stat().st_mtime_ns == t for p, t in kept.items())
    theirs = quick_run.store.manifest(spec.recipe, spec.fingerprint)
    assert theirs
    mine, reference = texts(store, outcome.manifest), texts(quick_run.store, theirs)
    assert len(mine) == len(reference) and sum(mine[k] == reference[k] for k in mine) >= 0.99 * len(mine)


def test_a_dead_engine_is_reported_and_leaves_no_process_behind(small: RunConfig, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    problem_set = small.problems.model_copy(update={"limit": 512})
    # The problems are too many to be done before the kill.
    many = small.model_copy(update={"problems": problem_set, "target_traces": 256})
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    with StageRunner() as runner, pytest.raises(StageError, match="vLLM failed"):
        runner.execute(rollouts_of(many, store, VLLM), store, Kill(runner, "VLLM::Engine"))
    assert {p.pid for p in psutil.Process().children(recursive=True)} <= before


def test_auto_picks_vllm_here() -> None:
    assert choose(Execution(device="cpu")).engine == "vllm"
