"""Settings: forms of answers, decoding of benchmarks, and budgets that must agree."""

from __future__ import annotations

import pytest

from ssb_core.config import ProblemsConfig, presets
from ssb_core.errors import ConfigError


def test_completions_are_boxed_in_every_form_except_choice() -> None:
    forms = {
        form: ProblemsConfig(source="x", form=form).completion_form for form in ("boxed", "hash", "choice", "exact")
    }
    assert forms == {"boxed": "boxed", "hash": "boxed", "choice": "choice", "exact": "boxed"}


def test_a_benchmark_replaces_only_the_decoding_fields_that_it_states() -> None:
    overrides = ["evaluate.benchmarks.1.temperature=0", "evaluate.benchmarks.1.samples=1", "evaluate.top_k=7"]
    evaluate = presets.load_config(
        "quickstart", overrides=[*overrides, "evaluate.benchmarks.0.max_new_tokens=9"]
    ).evaluate
    first, second = (evaluate.decoding(b) for b in evaluate.benchmarks)
    assert [evaluate.samples_of(b) for b in evaluate.benchmarks] == [4, 1]
    assert (first.temperature, first.top_k, first.max_new_tokens, first.seed) == (0.8, 7, 9, evaluate.seed)
    assert (second.temperature, second.top_k, second.max_new_tokens) == (0.0, 7, evaluate.max_new_tokens)


def test_benchmarks_may_all_replace_a_greedy_temperature() -> None:
    config = presets.load_config(
        "paper", overrides=["evaluate.samples=4", *(f"evaluate.benchmarks.{i}.temperature=0.6" for i in (0, 1))]
    )
    assert [config.evaluate.decoding(b).temperature for b in config.evaluate.benchmarks] == [0.6, 0.6]


def test_a_grpo_budget_other_than_that_of_rollouts_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"grpo\.samples \(4\) is not rollouts\.samples \(8\)"):
        presets.load_config("quickstart", overrides=["baselines=[grpo]", "rollouts.samples=8"])
    assert presets.load_config("quickstart", overrides=["rollouts.samples=8"]).grpo.samples == 4, (
        "grpo is no baseline here"
    )
