"""Baseline grpo: our prompts, ends of turn and verdicts in TRL's trainer; its budgets; it resumes bit for bit."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from ssb_core import prompts, verify
from ssb_core.config import GrpoConfig, ProblemsConfig, RunConfig
from ssb_core.config.execution import Execution
from ssb_core.engines.transformers_engine import TransformersSampler
from ssb_core.errors import ConfigError, StoreError
from ssb_core.models import ResolvedModel
from ssb_core.problems import load_problems
from ssb_core.progress import Progress
from ssb_core.records import Problem
from ssb_core.report.charts.rewards import draw_rewards
from ssb_core.runs import Run
from ssb_core.stages import Runtime, finished, stage_module
from ssb_core.stages.baselines import grpo
from ssb_core.stages.directory import weights
from ssb_core.stages.execute import execute
from ssb_core.stages.isolation import StageRunner
from ssb_core.store import Store
from ssb_core.training.log import read_log
from tasks.pages import grpo as grpo_page
from tests.support.runs import run_stages

CONFIG = GrpoConfig(max_new_tokens=64, prompts_per_step=3, save_steps=2, learning_rate=1e-3)
STEPS, ASKED = 5, 15  # of 16 problems


@pytest.fixture(scope="module")
def spec(nano: ResolvedModel) -> grpo.Spec:
    problem_set = ProblemsConfig(source="nano-train", limit=64)
    return grpo.Spec(
        model=nano,
        problems=problem_set,
        start=8,
        stop=24,
        problems_digest=load_problems(problem_set).part(8, 24).content_digest(),
        grpo=CONFIG,
        lora_rank=32,
        lora_alpha=32,
        execution=Execution(device="cpu"),
    )


def part(spec: grpo.Spec, stop: int) -> grpo.Spec:
    """The same request for the problems before `stop` only."""
    digest = load_problems(spec.problems).part(spec.start, stop).content_digest()
    return spec.model_copy(update={"stop": stop, "problems_digest": digest})


def changed(spec: grpo.Spec, **config: Any) -> grpo.Spec:
    return spec.model_copy(update={"grpo": spec.grpo.model_copy(update=config)})


class Recorded(Progress):
    """Remembers the phases, and breaks off after `steps` steps, as a kill would."""

    def __init__(self, steps: int = 1000) -> None:
        self.left = steps
        self.begun: list[tuple[str, int, str, int]] = []

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.begun.append((label, total, unit, done))

    def advance(self, n: int = 1) -> None:
        self.left -= n
        if self.left < 0:
            raise InterruptedError


class Trained:
    """One uninterrupted training, with the prompts that it read and the completions that it sampled."""

    def __init__(self, spec: grpo.Spec, store: Store) -> None:
        from ssb_core.training.grpo_trainer import Trainer

        self.prompts: list[list[int]] = []
        self.completions: list[list[int]] = []
        generate = Trainer._generate_single_turn

        def spy(trainer: Any, prompt_ids: Any, *args: Any) -> Any:
            self.eos_token_ids, self.settings = set(trainer.eos_token_ids), trainer.generation_config
            completion_ids, logprobs = generate(trainer, prompt_ids, *args)
            self.prompts += prompt_ids
            self.completions += completion_ids
            return completion_ids, logprobs

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Trainer, "_generate_single_turn", spy)
            self.outcome = grpo.run(spec, store, Runtime())
        self.store, self.stats = store, self.outcome.manifest.stats
        self.log = read_log(spec.directory(store))


@pytest.fixture(scope="module")
def trained(spec: grpo.Spec, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(spec, Store(tmp_path_factory.mktemp("grpo")))


def test_prompts_and_ends_of_turn_are_those_of_the_engine(spec: grpo.Spec, trained: Trained) -> None:
    engine = TransformersSampler(spec.model, spec.execution, None)
    expected = {tuple(engine.encode(prompts.tutor_messages(p.question))) for p in spec.load_wave()}
    read = [tuple(ids) for ids in trained.prompts]
    assert set(read) <= expected and len(set(read)) == ASKED
    assert [read.count(ids) for ids in set(read)] == [CONFIG.samples] * ASKED
    assert trained.eos_token_ids == set(engine.stop_ids)


def test_the_student_reads_few_shot_examples(spec: grpo.Spec) -> None:
    example = {"question": "What is 1 + 1?", "solution": "\\boxed{2}"}
    with_example, wave = grpo.Spec.model_validate({**spec.model_dump(), "few_shot": [example]}), spec.load_wave()
    assert with_example.recipe != spec.recipe
    bare = grpo.encode(spec, wave)
    assert all(len(ids) > len(bare[problem_id]) for problem_id, ids in grpo.encode(with_example, wave).items())


def test_it_samples_as_configured(trained: Trained) -> None:
    settings = trained.settings
    assert (settings.temperature, settings.top_k, settings.top_p) == (CONFIG.temperature, CONFIG.top_k, 1.0)
    assert settings.repetition_penalty == 1.0 and settings.max_new_tokens == CONFIG.max_new_tokens
    assert max(len(ids) for ids in trained.completions) <= CONFIG.max_new_tokens


def test_log_and_stats_count_steps_problems_and_every_generated_token(trained: Trained) -> None:
    rewards, tokens = [row["reward"] for row in trained.log], [len(ids) for ids in trained.completions]
    per_step = CONFIG.prompts_per_step * CONFIG.samples
    assert [row["step"] for row in trained.log] == list(range(1, STEPS + 1))
    assert [row["tokens"] for row in trained.log] == [sum(tokens[: per_step * step]) for step in range(1, STEPS + 1)]
    assert trained.log[0]["mean_length"] == pytest.approx(sum(tokens[:per_step]) / per_step)
    assert trained.stats == {
        "steps": STEPS,
        "problems": ASKED,
        "tokens": sum(tokens),
        "first_reward": rewards[0],
        "last_reward": rewards[-1],
    }
    assert all(row["kl"] >= 0 for row in trained.log) and trained.log[-1]["kl"] > 0
    assert (trained.outcome.made, trained.outcome.reused) == (STEPS, 0)


def test_first_and_last_reward_are_means_over_a_tenth_of_the_steps() -> None:
    log = [{"reward": float(step), "tokens": step} for step in range(20)]
    assert grpo.count(log, 40) == {
        "steps": 20,
        "problems": 40,
        "tokens": 19,
        "first_reward": 0.5,
        "last_reward": 18.5,
    }


def test_the_reward_is_1_for_a_correct_verdict_and_0_for_any_other(spec: grpo.Spec, tmp_path: Path) -> None:
    from ssb_core.training.grpo_trainer import Trainer

    problem = Problem("one", "What is a half?", "1/2")
    ids = {"one": (1, 2)}
    with verify.Verifier() as verifier:
        trainer = Trainer(spec.job, [problem], ids, verifier, tmp_path, Progress())
        completions = ["\\boxed{0.5}", "\\boxed{\\frac{1}{2}}", "\\boxed{2}", "no answer", "\\boxed{\\frac{}"]
        rewards = trainer.reward(["one"] * 5, completions, lambda name, value: None, completion_ids=[[1]] * 5)
    assert rewards == [1.0, 1.0, 0.0, 0.0, 0.0]


def test_resumed_in_a_fresh_process_it_ends_with_the_same_bits(
    spec: grpo.Spec, trained: Trained, tmp_path: Path
) -> None:
    store = Store(tmp_path)
    with pytest.raises(InterruptedError):
        grpo.run(spec, store, Runtime(Recorded(3)))
    assert finished(spec, store) is None
    apart = spec.model_copy(update={"execution": Execution(device="cpu", isolate="always")})
    resumed = Recorded()
    with StageRunner() as runner:
        outcome = runner.execute(apart, store, resumed)
    assert (outcome.reused, outcome.made) == (2, STEPS - 2)
    assert resumed.begun == [("grpo", STEPS, "steps", 2)]
    assert outcome.manifest == trained.outcome.manifest  # checksums of adapter and log, and the stats
    assert not list(store.root.rglob("*.work"))
    assert json.loads((spec.directory(store) / "speed.json").read_text())["tokens"] == trained.stats["tokens"]


def test_another_seed_gives_another_student(spec: grpo.Spec, trained: Trained, tmp_path: Path) -> None:
    other = changed(spec, seed=1)
    assert other.recipe != spec.recipe
    grpo.run(other, Store(tmp_path), Runtime())
    assert other.directory(Store(tmp_path)).name != spec.directory(trained.store).name
    theirs = load_file(spec.load_adapter(trained.store) / "adapter_model.safetensors")
    for name, tensor in load_file(other.load_adapter(Store(tmp_path)) / "adapter_model.safetensors").items():
        assert not torch.equal(tensor, theirs[name]), name


def test_a_finished_request_is_not_trained_again(spec: grpo.Spec, trained: Trained) -> None:
    assert stage_module("grpo") is grpo
    outcome = execute(spec, trained.store, Runtime(Recorded(0)))
    assert (outcome.made, outcome.reused) == (0, STEPS)


def test_the_adapter_is_float32_on_all_linear_layers_of_a_frozen_16_bit_base(spec: grpo.Spec, tmp_path: Path) -> None:
    from ssb_core.training.grpo_trainer import Trainer

    rounded = spec.model_copy(update={"model": spec.model.model_copy(update={"dtype": "bfloat16"})})
    with verify.Verifier() as verifier:
        wave = spec.load_wave()
        student: Any = Trainer(rounded.job, wave, grpo.encode(spec, wave), verifier, tmp_path, Progress()).model
    learned = {name: p for name, p in student.named_parameters() if p.requires_grad}
    frozen = [p.dtype for p in student.parameters() if not p.requires_grad]
    assert {p.dtype for p in learned.values()} == {torch.float32} and set(frozen) == {torch.bfloat16}
    adapted = {name.split(".lora_")[0].rsplit(".", 1)[1] for name in learned}
    assert adapted == {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


def test_settings_that_change_no_row_are_not_in_the_recipe(spec: grpo.Spec) -> None:
    assert changed(spec, accumulation=3, checkpointing=True, save_steps=7).fingerprint == spec.fingerprint
    for field, value in {"learning_rate": 1e-4, "beta": 0.0, "samples": 6, "max_new_tokens": 65, "epochs": 2}.items():
        assert changed(spec, **{field: value}).fingerprint != spec.fingerprint, field
    assert part(spec, 23).fingerprint != spec.fingerprint


def test_passes_and_recomputed_activations_change_neither_samples_nor_loss(
    spec: grpo.Spec, trained: Trained, tmp_path: Path
) -> None:
    frugal = Trained(changed(spec, accumulation=3, checkpointing=True), Store(tmp_path))
    assert frugal.completions == trained.completions
    for row, expected in zip(frugal.log, trained.log, strict=True):
        assert row["loss"] == pytest.approx(expected["loss"], abs=1e-6)
        assert row["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-3)


def test_every_epoch_has_every_problem_in_another_order_in_whole_steps(spec: grpo.Spec) -> None:
    config = CONFIG.model_copy(update={"epochs": 3})
    wave = spec.load_wave()
    scheduled = [p.id for p in grpo.schedule(wave, config)]
    first, second = scheduled[:16], scheduled[16:32]
    assert set(first) == set(second) == {p.id for p in wave} and first != second
    assert len(scheduled) == 48
    assert len(grpo.schedule(wave, CONFIG)) == ASKED


def test_a_prompt_that_leaves_no_room_for_a_completion_is_left_out(
    spec: grpo.Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    wave = spec.load_wave()
    lengths = sorted(len(ids) for ids in grpo.encode(spec, wave).values())
    monkeypatch.setattr("ssb_core.models.context_length", lambda model: lengths[-1] - 1 + CONFIG.max_new_tokens)
    assert sorted(len(ids) for ids in grpo.encode(spec, wave).values()) == [n for n in lengths if n < lengths[-1]]


def test_fewer_problems_than_a_step_are_refused(spec: grpo.Spec, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"2 problems .* grpo.prompts_per_step"):
        grpo.run(part(spec, 10), Store(tmp_path), Runtime())


def test_a_learning_rate_that_diverges_is_refused_with_the_field_to_lower(spec: grpo.Spec, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"diverged .* lower grpo\.learning_rate"):
        grpo.run(changed(spec, learning_rate=1e30), Store(tmp_path), Runtime())


def test_without_trl_it_is_refused_before_any_work(
    spec: grpo.Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grpo, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"trl is not installed\n  remedy: pip install .*baselines"):
        grpo.run(spec, Store(tmp_path), Runtime())
    assert not list(tmp_path.iterdir())


def test_passes_that_are_no_whole_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="accumulation"):
        GrpoConfig(prompts_per_step=3, samples=4, accumulation=5)


def test_the_pipeline_trains_on_the_problems_of_ssb_and_scores_the_student(
    small: RunConfig, quick_run: Run, tmp_path: Path
) -> None:
    shutil.copytree(quick_run.store.root, tmp_path / "store")
    changes = {"baselines": ("grpo",), "grpo": CONFIG.model_copy(update={"prompts_per_step": 16, "max_new_tokens": 16})}
    run = run_stages(small.model_copy(update=changes), Store(tmp_path / "store"), tmp_path / "runs" / "grpo")
    sampled = sum(m.stats["samples"] for m in run.manifests("rollouts"))
    (trained,) = run.manifests("grpo")
    assert trained.stats["problems"] == trained.stats["steps"] * 16 == sampled // CONFIG.samples
    (benchmark,) = run.load_summary()["benchmarks"].values()
    assert list(benchmark["models"]) == ["base", "ssb", "grpo"]
    log = read_log(run.store.path(trained, weights(trained)).parents[1])
    assert draw_rewards(log).startswith(b"\x89PNG")
    page = grpo_page.page(run)
    assert f"{trained.stats['problems']:,} problems, " in page.description
    assert str(page.body).startswith("# GRPO\n\n![reward curve](data:image/png;base64,")
