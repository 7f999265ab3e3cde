"""Commented YAML: a configuration that can be read by people, and again by `load_config`."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssb_core.config import Example, RunConfig, commented_yaml, presets, schema

EVERY_KIND = [
    "baselines=[grpo, sft]",
    "execution.stage_timeout_hours={rollouts: 6}",
    "execution.report_to=[wandb]",
    "distill.learning_rate=1e-30",
    "model.revision='12e4567'",
    "problems.id='yes'",
]


def read_back(config: RunConfig, folder: Path) -> RunConfig:
    file = folder / "config.yaml"
    file.write_text(commented_yaml.dump(config), encoding="utf-8")
    return presets.load_config(file=file)


@pytest.mark.parametrize("preset", presets.preset_names())
@pytest.mark.parametrize("overrides", [[], EVERY_KIND], ids=["alone", "with every kind of value"])
def test_a_preset_is_read_back_as_it_was(preset: str, overrides: list[str], tmp_path: Path) -> None:
    config = presets.load_config(preset, overrides=overrides)
    assert read_back(config, tmp_path) == config


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)


@settings(max_examples=20)
@given(name=text, question=text, solution=text | st.sampled_from(["# no comment", "a: b", "- x", "\ttab", "no", "~"]))
def test_any_text_is_read_back_as_it_was(
    name: str, question: str, solution: str, small: RunConfig, tmp_path_factory: pytest.TempPathFactory
) -> None:
    problems = small.problems.model_copy(update={"question": name})
    prompts = small.prompts.model_copy(update={"few_shot": (Example(question=question, solution=solution),) * 2})
    config = small.model_copy(update={"problems": problems, "prompts": prompts})
    assert read_back(config, tmp_path_factory.getbasetemp()) == config


def test_every_field_stands_below_its_meaning_values_and_default() -> None:
    written = commented_yaml.dump(presets.load_config("smollm2"))
    lines = written.splitlines()
    assert "# Rollouts per problem (K). [an integer from 2 to 10,000; default 4]" in written
    assert "\n  samples: 8\n" in written
    comments = [line for line in lines if line.lstrip(" -").startswith("#")]
    assert max(map(len, comments)) <= 80
    plain = " ".join(line.lstrip(" -#") for line in comments)
    for path in schema.field_paths():
        node = schema.find([int(key) if key.isdecimal() else key for key in path.split(".")])[1]
        assert node["description"] in plain, path
