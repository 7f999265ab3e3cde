"""Sampling from the models of a finished run."""

from __future__ import annotations

from pathlib import Path

import pytest

import ssb_core
from ssb_core import prompts
from ssb_core.config import Decoding
from ssb_core.engines import open_sampler, requests_for
from ssb_core.errors import ConfigError, StoreError
from ssb_core.progress import CallbackProgress
from ssb_core.records import Completion
from ssb_core.results import queries
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import distill
from tests.support.runs import copied
from tests.support.sampling import sampled

QUESTIONS = ["Ann has 3 apples and buys 4 more. How many apples does she have?", "What is 17 + 5?"]


def from_engine(run: Run, model: str, decoding: Decoding, n: int) -> list[list[Completion]]:
    """The completions of the engine that evaluates the run's models."""
    config = queries.load_config(run)
    pipeline = Pipeline.of(config, run.store.root)
    specs = (step.spec for step in pipeline.walk(run.store))
    student = next(s for s in specs if isinstance(s, distill.Spec))
    adapter = student.load_adapter(run.store) if model == "ssb" else None
    with open_sampler(pipeline.model, config.execution, adapter) as sampler:
        requests = [
            request
            for i, question in enumerate(QUESTIONS)
            for request in requests_for(sampler, prompts.tutor_messages(question), "sample", decoding.seed, str(i), n)
        ]
        completions = sampled(sampler, requests, decoding)
    return [completions[i * n : (i + 1) * n] for i in range(len(QUESTIONS))]


def test_base_and_student_answer_as_in_the_evaluation_engine(quick_run: Run) -> None:
    decoding = Decoding.model_validate(queries.load_config(quick_run).evaluate.recipe)
    answers = {model: ssb_core.sample(quick_run, QUESTIONS, n=2, model=model) for model in ("base", "ssb")}
    for model, groups in answers.items():
        assert groups == from_engine(quick_run, model, decoding, 2)
        assert [len(group) for group in groups] == [2, 2]
    assert answers["base"] != answers["ssb"] and ssb_core.sample(quick_run, QUESTIONS, n=2) == answers["ssb"]
    assert answers["ssb"][0][0] != answers["ssb"][0][1]


def test_decoding_can_be_chosen_and_samples_are_counted(quick_run: Run) -> None:
    calls: list[tuple[str, int, int, str]] = []
    progress = CallbackProgress(lambda *arguments: calls.append(arguments))
    greedy = Decoding(temperature=0.0, max_new_tokens=8)
    ((one, other),) = ssb_core.sample(quick_run, QUESTIONS[:1], 2, decoding=greedy, progress=progress)
    assert one == other and one.finish_reason == "length" and len(one.completion_ids) == 8
    assert calls[0] == ("sample ssb", 0, 2, "samples") and calls[-1] == ("sample ssb", 2, 2, "samples")
    ((long,),) = ssb_core.sample(quick_run, ["x " * 5000], decoding=greedy)
    assert (long.finish_reason, long.completion_ids) == ("too_long", ())
    assert ssb_core.sample(quick_run, []) == []


def test_an_unknown_model_is_refused_with_those_of_the_run(quick_run: Run) -> None:
    with pytest.raises(ConfigError, match="run quick has no model 'grpo'; it has base, ssb"):
        ssb_core.sample(quick_run, QUESTIONS, model="grpo")


def test_a_student_that_the_store_no_longer_holds_is_refused(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    (manifest,) = run.manifests("distill")
    next(run.store.root.glob(f"distill/*/manifests/{manifest.fingerprint}.json")).unlink()
    with pytest.raises(StoreError, match="distill"):
        ssb_core.sample(run, QUESTIONS)
    assert len(ssb_core.sample(run, QUESTIONS, model="base")) == 2
