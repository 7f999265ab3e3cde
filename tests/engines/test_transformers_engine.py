"""The transformers engine on the embedded model."""

from __future__ import annotations

import gc
import json
import resource
import shutil
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import psutil
import pytest

from ssb_core import config, models, problems, prompts
from ssb_core.config import Decoding, ProblemsConfig
from ssb_core.config.execution import Execution
from ssb_core.engines import LoadedEngine, Sampler, SampleRequest, open_sampler, seed_for
from ssb_core.progress import Progress
from ssb_core.records import Completion
from tests.support.sampling import sampled

WARM = Decoding(temperature=0.8, max_new_tokens=160)


@pytest.fixture(scope="module")
def sampler(nano: models.ResolvedModel) -> Iterator[Sampler]:
    with open_sampler(nano, Execution(batch_size=16)) as opened:
        yield opened


@pytest.fixture(scope="module")
def requests(sampler: Sampler) -> list[SampleRequest]:
    problem_set = problems.load_problems(ProblemsConfig(source="nano-test", limit=24))
    return [
        SampleRequest(sampler.encode(prompts.tutor_messages(p.question)), seed_for("test", 0, p.id, 0))
        for p in problem_set
    ]


@pytest.fixture(scope="module")
def completions(sampler: Sampler, requests: list[SampleRequest]) -> list[Completion]:
    return sampled(sampler, requests, WARM)


def test_a_row_is_the_same_alone_reversed_and_in_another_batch(
    nano: models.ResolvedModel, requests: list[SampleRequest], completions: list[Completion]
) -> None:
    with open_sampler(nano, Execution(batch_size=7)) as other:
        assert sampled(other, requests[::-1], WARM)[::-1] == completions
        assert sampled(other, requests[3:4], WARM) == completions[3:4]


def test_completions_end_with_the_end_of_turn_token(sampler: Sampler, completions: list[Completion]) -> None:
    end = sampler.tokenizer.eos_token_id  # type: ignore[attr-defined]
    assert all((c.completion_ids[-1] == end) == (c.finish_reason == "stop") for c in completions)
    assert all(end not in c.completion_ids[:-1] for c in completions)
    assert sum(c.finish_reason == "stop" for c in completions) >= 22


def test_another_seed_draws_another_completion_and_greedy_ignores_it(
    sampler: Sampler, requests: list[SampleRequest], completions: list[Completion]
) -> None:
    reseeded = [SampleRequest(r.prompt_ids, r.seed + 1) for r in requests]
    assert sampled(sampler, reseeded, WARM) != completions
    greedy = Decoding(temperature=0.0, max_new_tokens=160)
    assert sampled(sampler, reseeded, greedy) == sampled(sampler, requests, greedy)


def test_top_k_of_one_is_greedy(sampler: Sampler, requests: list[SampleRequest]) -> None:
    one = Decoding(temperature=0.8, top_k=1, max_new_tokens=160)
    greedy = Decoding(temperature=0.0, max_new_tokens=160)
    assert sampled(sampler, requests, one) == sampled(sampler, requests, greedy)


def test_the_token_cap_is_kept_and_named(sampler: Sampler, requests: list[SampleRequest]) -> None:
    short = sampled(sampler, requests, Decoding(temperature=0.8, max_new_tokens=5))
    assert {(len(c.completion_ids), c.finish_reason) for c in short} == {(5, "length")}


def test_sampled_tokens_follow_the_models_distribution(sampler: Sampler, requests: list[SampleRequest]) -> None:
    """The first tokens of 2,000 seeds fit the tempered softmax (chi-squared, p > 0.001)."""
    import numpy as np
    import torch
    from scipy.stats import chisquare

    prompt = requests[0].prompt_ids
    ids = torch.tensor([prompt])
    logits = sampler.model(input_ids=ids).logits[0, -1]  # type: ignore[attr-defined]
    warm = Decoding(temperature=6.0, top_k=8, max_new_tokens=1)
    drawn = sampled(sampler, [SampleRequest(prompt, seed) for seed in range(2000)], warm)
    top, tokens = logits.topk(8)
    expected = (top / 6.0).softmax(-1).double().numpy() * 2000
    counts = np.array([sum(c.completion_ids[0] == t for c in drawn) for t in tokens.tolist()])
    assert counts.sum() == 2000
    assert chisquare(counts, expected * counts.sum() / expected.sum()).pvalue > 0.001


def test_seeds_depend_on_stage_seed_problem_and_index_only() -> None:
    assert seed_for("teach", 0, "a", 1) == seed_for("teach", 0, "a", 1)
    every = product(("rollouts", "teach"), range(5), ("a", "b", "1"), range(9))
    assert len({seed_for(*one) for one in every}) == 2 * 5 * 3 * 9


def test_penalties_that_a_model_suggests_do_not_change_what_is_sampled(
    nano: models.ResolvedModel, requests: list[SampleRequest], completions: list[Completion], tmp_path: Path
) -> None:
    shutil.copytree(nano.source, tmp_path / "model")
    suggested = tmp_path / "model" / "generation_config.json"
    settings = json.loads(suggested.read_text()) | {"repetition_penalty": 1.5, "min_new_tokens": 99}
    suggested.write_text(json.dumps(settings))
    other = models.resolve(config.ModelConfig(source=str(tmp_path / "model"), dtype="float32"), tmp_path)
    with open_sampler(other, Execution(batch_size=16)) as sampler:
        assert sampled(sampler, requests, WARM) == completions


def test_out_of_memory_halves_the_batch_and_changes_nothing(
    nano: models.ResolvedModel, requests: list[SampleRequest]
) -> None:
    short, notes = Decoding(temperature=0.8, max_new_tokens=16), []

    class Noting(Progress):
        def note(self, text: str) -> None:
            notes.append(text)

    many = requests * 120  # they take 400 MB: more than what earlier tests left can free meanwhile
    with open_sampler(nano, Execution(batch_size=len(many))) as sampler:
        expected = sampled(sampler, requests, short)  # allocates everything that is allocated only once
        gc.collect()
        before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**27, before[1]))
        try:
            ((_, completions),) = sampler.sample([(0, many)], short, Noting())
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)
    assert completions == expected * 120
    assert notes[0] == "out of memory with 2880 sequences at once, going on with 1440 (execution.batch_size)"


def test_an_engine_is_kept_for_the_same_weights_and_freed_when_asked(nano: models.ResolvedModel) -> None:
    execution = Execution(batch_size=16)
    with LoadedEngine() as engines:
        with engines.open(nano, execution) as first:
            pass
        with engines.open(nano, execution) as again:
            assert again is first and hasattr(first, "model")
        with engines.open(nano, Execution(batch_size=8)) as other:
            assert other is not first and not hasattr(first, "model")
        engines.release()
        assert not hasattr(other, "model")
        with pytest.raises(KeyError), engines.open(nano, execution) as broken:
            raise KeyError
        assert not hasattr(broken, "model")  # an engine that may have failed is not kept
        with engines.open(nano, execution) as last:
            pass
    assert not hasattr(last, "model")
