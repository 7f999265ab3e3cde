"""Presets, files and overrides: presets are complete, overrides are typed, and errors name the field."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core.config import presets
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
        ("distill.accumulation=3", "distill.accumulation (3) must divide distill.batch_size (4)"),
        ("seeds=2", "seeds: two trainings are too few"),
        ("baselines=[sft,sft]", "baselines must be unique"),
        ("baselines=[ppo]", "baselines.0"),
        ("execution.train_processes=3", "must divide the traces of one pass (4: "),
        ("execution.train_nodes=2", "must divide execution.train_processes (1)"),
        ("execution={train_nodes: 2, train_processes: 2}", "execution.train_endpoint=HOST:PORT"),
        ("execution.train_endpoint=alpha", "train_endpoint"),
        ("execution.workers.count=0", "workers.count"),
        ("execution.train_sharded=true", "execution.train_processes: set that above 1"),
        ("evaluate.temperature=0", "samples to 1"),
        ("evaluate.benchmarks.1.temperature=0", "samples to 1 or a temperature above 0 (benchmark nano-hard)"),
        ("evaluate.benchmarks.0.max_new_tokens=0", "evaluate.benchmarks.0.max_new_tokens"),
        ("evaluate.benchmarks.0.seed=1", "evaluate.benchmarks.0.seed: no such field"),
        ("evaluate.benchmarks.7.limit=5", "evaluate.benchmarks has 2 items, numbered from 0"),
        ("evaluate.benchmarks.name=x", "is a list; write the number of an item, such as evaluate.benchmarks.0"),
        ("model.source.x=5", "model.source.x: no such field"),
        ("rollouts", "section.field=value"),
        ("execution.device=tpu", "execution.device"),
        ("rollouts.temperature=.inf", "rollouts.temperature"),
        ("distill.learning_rate=.inf", "distill.learning_rate"),
        ("distill.seed=1099511627776", "distill.seed"),
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
    for text, message in (("a: [", "a bracket is not closed"), ("- 1", "must be a mapping"), ("{}", "model: required")):
        file.write_text(text)
        with pytest.raises(ConfigError, match=message):
            presets.load_config(file=file)
    with pytest.raises(ConfigError, match="quickstart"):
        presets.load_config("quick")
    with pytest.raises(ConfigError, match="either a preset"):
        presets.load_config()
