"""Configuration: presets are complete, overrides are typed, everything wrong is refused by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core.config import ProblemsConfig, presets
from ssb_core.errors import ConfigError


@pytest.mark.parametrize("preset", presets.preset_names())
def test_every_preset_is_valid(preset: str) -> None:
    assert presets.load_config(preset).model.source


def test_the_paper_preset_has_the_papers_hyperparameters() -> None:
    c = presets.load_config("paper")
    assert (c.model.source, c.problems.source, c.target_traces) == ("Qwen/Qwen2.5-3B-Instruct", "openai/gsm8k", 256)
    assert (c.rollouts.samples, c.rollouts.temperature, c.rollouts.top_k, c.teach.temperature) == (4, 0.8, 50, 0.4)
    d = c.distill
    assert (d.lora_rank, d.lora_alpha, d.learning_rate, d.batch_size, d.epochs, d.temperature) == (
        32,
        32,
        2e-4,
        4,
        3,
        2,
    )
    assert [b.name for b in c.evaluate.benchmarks] == ["math500", "aime2024"]


def test_overrides_reach_nested_fields_and_list_items() -> None:
    c = presets.load_config(
        "quickstart", overrides=["rollouts.samples=8", "evaluate.benchmarks.0.limit=5", "problems.limit=null"]
    )
    assert c.rollouts.samples == 8 and c.evaluate.benchmarks[0].limit == 5 and c.problems.limit is None


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("rollouts.smaples=8", "rollouts.smaples: no such field"),
        ("rollouts.samples=many", "rollouts.samples"),
        ("rollouts.samples=1", "rollouts.samples"),
        ("distill.learning_rate=-1", "distill.learning_rate"),
        ("distill.accumulation=3", "accumulation (3) must divide batch_size (4)"),
        ("seeds=2", "seeds: two say too little"),
        ("baselines=[sft,sft]", "baselines must be named once each"),
        ("baselines=[ppo]", "baselines.0"),
        ("execution.train_processes=3", "must divide what a pass of distill.batch_size is (4 traces)"),
        ("execution.train_nodes=2", "must divide execution.train_processes (1)"),
        ("execution={train_nodes: 2, train_processes: 2}", "execution.train_endpoint=HOST:PORT"),
        ("execution.train_endpoint=alpha", "train_endpoint"),
        ("execution.workers.count=0", "workers.count"),
        ("execution.train_sharded=true", "execution.train_processes: set that too"),
        ("evaluate.temperature=0", "samples to 1"),
        ("evaluate.benchmarks.1.temperature=0", "samples to 1 or a temperature above 0 (benchmark nano-hard)"),
        ("evaluate.benchmarks.0.max_new_tokens=0", "evaluate.benchmarks.0.max_new_tokens"),
        ("evaluate.benchmarks.0.seed=1", "evaluate.benchmarks.0.seed: no such field"),
        ("evaluate.benchmarks.7.limit=5", "not a place"),
        ("model.source.x=5", "not a place"),
        ("rollouts", "section.field=value"),
        ("execution.device=tpu", "execution.device"),
        ("rollouts.temperature=.inf", "rollouts.temperature"),
        ("distill.learning_rate=.inf", "distill.learning_rate"),
        ("distill.seed=1099511627776", "distill.seed"),
        ("model.source=2024-13-45", "not a place"),
    ],
)
def test_a_wrong_override_is_refused_with_its_field(override: str, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        presets.load_config("quickstart", overrides=[override])
    assert named in str(refused.value)


def test_wrong_files_are_refused_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    with pytest.raises(ConfigError, match=r"cannot read .*mine\.yaml"):
        presets.load_config(file=file)
    for text, said in (("a: [", "not valid YAML"), ("- 1", "must be a mapping"), ("{}", "model: required")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=said):
            presets.load_config(file=file)
    with pytest.raises(ConfigError, match="quickstart"):
        presets.load_config("quick")
    with pytest.raises(ConfigError, match="either a preset"):
        presets.load_config()


def test_completions_are_boxed_whatever_the_data_set_does_but_for_choices() -> None:
    forms = {
        form: ProblemsConfig(source="x", form=form).completion_form for form in ("boxed", "hash", "choice", "exact")
    }
    assert forms == {"boxed": "boxed", "hash": "boxed", "choice": "choice", "exact": "boxed"}


def test_a_benchmark_is_sampled_as_evaluate_says_but_for_what_it_states_itself() -> None:
    overrides = ["evaluate.benchmarks.1.temperature=0", "evaluate.benchmarks.1.samples=1", "evaluate.top_k=7"]
    asked = presets.load_config("quickstart", overrides=[*overrides, "evaluate.benchmarks.0.max_new_tokens=9"]).evaluate
    first, second = (asked.decoding(b) for b in asked.benchmarks)
    assert [asked.samples_of(b) for b in asked.benchmarks] == [4, 1]
    assert (first.temperature, first.top_k, first.max_new_tokens, first.seed) == (0.8, 7, 9, asked.seed)
    assert (second.temperature, second.top_k, second.max_new_tokens) == (0.0, 7, asked.max_new_tokens)


def test_greedy_benchmarks_may_all_state_their_own_samples() -> None:
    asked = presets.load_config(
        "paper", overrides=["evaluate.samples=4", *(f"evaluate.benchmarks.{i}.temperature=0.6" for i in (0, 1))]
    )
    assert [asked.evaluate.decoding(b).temperature for b in asked.evaluate.benchmarks] == [0.6, 0.6]


def test_a_budget_of_grpo_that_is_not_ssbs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"grpo\.samples \(4\) is not rollouts\.samples \(8\)"):
        presets.load_config("quickstart", overrides=["baselines=[grpo]", "rollouts.samples=8"])
    assert presets.load_config("quickstart", overrides=["rollouts.samples=8"]).grpo.samples == 4, (
        "not asked for, so no matter"
    )
