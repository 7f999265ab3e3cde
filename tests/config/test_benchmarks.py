"""Benchmarks by name or by definition, for an evaluation without a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from ssb_core.config import Benchmark, presets
from ssb_core.config.benchmarks import Named, evaluation_tree, preset_benchmarks
from ssb_core.config.settings import EvaluateConfig
from ssb_core.errors import ConfigError


def section(wanted: Sequence[Named], *overrides: str) -> EvaluateConfig:
    tree = {"model": {"source": "nano"}} | evaluation_tree(wanted, None, overrides)
    return presets.build(tree, "the evaluation", overrides).evaluate


def test_each_named_benchmark_is_sampled_as_its_preset_does() -> None:
    mixed = section(list(preset_benchmarks()))
    for b in mixed.benchmarks:
        own = presets.load_config(preset_benchmarks()[b.name]).evaluate
        (theirs,) = (t for t in own.benchmarks if t.name == b.name)
        assert mixed.decoding(b) == own.decoding(theirs) and mixed.samples_of(b) == own.samples_of(theirs)


def test_overrides_replace_the_decoding_of_every_named_benchmark() -> None:
    mixed = section(["MATH-500", "nano_test"], "evaluate.temperature=0.5", "evaluate.samples=3", "evaluate.limit=7")
    assert [b.name for b in mixed.benchmarks] == ["math500", "nano-test"]
    assert {(mixed.decoding(b).temperature, mixed.samples_of(b)) for b in mixed.benchmarks} == {(0.5, 3)}
    assert {b.limit for b in mixed.limited_benchmarks()} == {7}


def test_a_definition_has_the_words_of_a_configuration() -> None:
    fields: dict[str, Any] = {"name": "mine", "source": "mine.jsonl", "form": "exact", "samples": 2, "temperature": 1}
    text = "{name: mine, source: mine.jsonl, form: exact, samples: 2, temperature: 1}"
    assert section([text]) == section([fields]) == section([Benchmark.model_validate(fields)])
    assert section([text]).benchmarks[0].form == "exact"


def test_a_given_configuration_keeps_its_benchmarks_and_its_decoding() -> None:
    given = presets.load_config("quickstart", overrides=["evaluate.max_new_tokens=99"])
    assert evaluation_tree([], given)["evaluate"] == given.model_dump(mode="json")["evaluate"]
    tree = evaluation_tree(["nano-hard", "math500"], given)
    both = EvaluateConfig.model_validate(tree["evaluate"])
    assert [both.decoding(b).max_new_tokens for b in both.benchmarks] == [99, 8192]


def test_a_benchmark_with_worked_examples_brings_them_along() -> None:
    examples = presets.load_config("smollm2").prompts.model_dump(mode="json")
    assert evaluation_tree(["mawps-few-shot"], None)["prompts"] == examples
    assert "prompts" not in evaluation_tree(["mawps-bare"], None)
    with pytest.raises(ConfigError, match="need different worked examples"):
        evaluation_tree(["mawps-few-shot"], presets.load_config("quickstart"))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([], "no benchmark is named\n  remedy: --benchmarks NAME, where NAME is one of math500, "),
        (["nonsense"], "there is no benchmark 'nonsense'\n  remedy: give one of math500, "),
        (["{name: x"], "--benchmarks {name: x: a bracket is not closed"),
        (["{name: x, source: y, frm: exact}"], "evaluate.benchmarks.0.frm: no such field"),
    ],
)
def test_benchmarks_that_are_not_known_are_refused(wanted: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        section(wanted)
