"""``ssb config`` and ``ssb presets``, and wrong values of options."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssb_core.config import presets, schema

Ssb = Callable[..., Any]


@pytest.mark.parametrize(
    "options",
    [
        ["--preset", "paper"],
        ["--preset", "smollm2", "--set", "rollouts.samples=16", "--set", "grpo.samples=16"],
        ["--config", "own.yaml"],
        [],
    ],
)
def test_what_it_prints_is_the_same_configuration_as_a_file(options: list[str], ssb_here: Ssb, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "model: {source: m}\nproblems: {source: p}\nevaluate: {benchmarks: [{name: b, source: s}]}"
    )
    printed = ssb_here("config", *options, cwd=tmp_path)
    assert printed.returncode == 0 and printed.stderr == ""
    first, *_ = printed.stdout.splitlines()
    assert first == "# yaml-language-server: $schema=ssb.schema.json"
    (tmp_path / "mine.yaml").write_text(printed.stdout)
    again = ssb_here("parameters", "--config", "mine.yaml", cwd=tmp_path)
    before = ssb_here("parameters", *(options or ["--preset", "quickstart"]), cwd=tmp_path)
    assert json.loads(again.stdout)["config"] == json.loads(before.stdout)["config"]


def test_it_prints_the_schema_of_all_configurations(ssb_here: Ssb, tmp_path: Path) -> None:
    done = ssb_here("config", "schema", cwd=tmp_path)
    assert json.loads(done.stdout) == schema.load()
    done = ssb_here("config", "schema", "--preset", "paper", cwd=tmp_path)
    assert done.returncode == 2 and "the same for every configuration" in done.stderr


def test_the_presets_are_listed_with_a_line_each_that_fits_80_columns(ssb_here: Ssb, tmp_path: Path) -> None:
    lines = ssb_here("presets", cwd=tmp_path).stdout.splitlines()
    for line, name in zip(lines, presets.preset_names(), strict=False):
        assert line.split()[0] == name and line.endswith(presets.summarize(name)) and len(line) <= 80
    assert [n for n in presets.preset_names() if n not in ssb_here("run", "--help", cwd=tmp_path).stdout] == []


@pytest.mark.parametrize(
    ("arguments", "refused"),
    [
        (["rnu"], "No such command 'rnu'. Did you mean 'run'?"),
        (["run", "--presett", "x"], "--preset"),
        (["run", "--force", "rollout"], "did you mean 'rollouts'?"),
        (["run", "--limit", "x"], "'x' is not a whole number"),
        (["run", "--limit", "0"], "'0' is below 1, the smallest value"),
        (["gc", "--older-than", "x"], "'x' is not a number"),
        (["serve-local", "--port", "70000"], "'70000' is above 65535, the largest value"),
        (["grade", "x.jsonl", "--form", "box"], "did you mean 'boxed'?"),
        (["config", "shcema"], "did you mean 'schema'?"),
        (["config", "--preset", "quickstrat"], "did you mean 'quickstart'?"),
    ],
)
def test_a_wrong_word_or_number_is_refused_with_what_is_meant(
    arguments: list[str], refused: str, ssb_here: Ssb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    done = ssb_here(*arguments, cwd=tmp_path)
    message = " ".join(done.stderr.split())
    assert done.returncode == 2 and refused in message, done.stderr
    assert "Value error" not in message and "Input should" not in message
