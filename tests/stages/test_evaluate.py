"""Evaluated samples as the store keeps them, and their estimates in the summary."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ssb_core import models, problems, prompts, verify
from ssb_core.config import RunConfig, presets
from ssb_core.engines import seed_for
from ssb_core.errors import ConfigError
from ssb_core.evaluation import statistics
from ssb_core.records import NO_VOTE, Sample
from ssb_core.results import queries, summary
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import evaluate
from ssb_core.store import digest
from tests.support.settings import SMALL


@pytest.fixture(scope="module")
def evaluated(quick_run: Run, small: RunConfig) -> tuple[evaluate.Spec, ...]:
    """The base's request, and the student's."""
    specs = [step.spec for step in Pipeline.of(small, quick_run.store.root).walk(quick_run.store)]
    return tuple(spec for spec in specs if isinstance(spec, evaluate.Spec))


def benchmarks(run: Run, specs: list[evaluate.Spec]) -> dict[str, Any]:
    return summary.summarise("run", "preset", run.store, specs, [], 0.0)["benchmarks"]  # type: ignore[no-any-return]


def test_every_sample_is_kept_with_its_problem_index_seed_and_prompt(
    quick_run: Run, evaluated: tuple[evaluate.Spec, ...]
) -> None:
    base, (first, *_) = evaluated[0], queries.load_evaluations(quick_run)
    rows = [row for table in quick_run.store.tables(first.manifest) for row in table.to_pylist()]
    assert set(rows[0]) == {f.name for f in fields(Sample)} and set(rows[0]["verdict"]) == {"status", "answer", "key"}
    assert [(r["problem_id"], r["index"]) for r in rows] == [
        (p.id, i) for p in base.load_problem_set() for i in range(4)
    ]
    tokenizer = models.load_tokenizer(base.model)
    for problem, row in zip(base.load_problem_set(), rows[1::4], strict=True):
        assert row["prompt_hash"] == digest(prompts.encode(tokenizer, prompts.tutor_messages(problem.question)))
        assert row["seed"] == seed_for("evaluate", base.decoding.seed, problem.id, 1)


def test_a_sample_votes_for_its_key_and_one_without_an_answer_has_no_vote(
    quick_run: Run, evaluated: tuple[evaluate.Spec, ...]
) -> None:
    arrays = evaluate.arrays(evaluated[0], quick_run.store)
    manifest = queries.load_evaluations(quick_run)[0].manifest
    verdicts = [v for t in quick_run.store.tables(manifest, ["verdict"]) for v in t["verdict"].to_pylist()]
    keys = np.array([v["key"] or v["answer"] for v in verdicts], dtype=object).reshape(-1, 4)
    for votes, of_problem in zip(arrays["votes"], keys, strict=True):
        equal = [[a == b for b in of_problem] for a in of_problem]
        assert [[a == b for b in votes] for a in votes] == equal
        assert [v == NO_VOTE for v in votes] == [key is None for key in of_problem]


def test_the_summary_has_every_estimate_of_every_model(quick_run: Run, evaluated: tuple[evaluate.Spec, ...]) -> None:
    summarised = benchmarks(quick_run, list(evaluated))["nano-test"]
    levels = [p.level for p in evaluated[0].load_problem_set()]
    for spec in evaluated:
        score, arrays = summarised["models"][spec.model_name], evaluate.arrays(spec, quick_run.store)
        assert score["pass_at_k"] == {str(k): statistics.pass_at_k(arrays["correct"], k) for k in (1, 2, 4)}
        assert score["pass_at_k"]["1"] == pytest.approx(score["accuracy"]) and "seeds" not in score
        assert score["maj_at_k"] == statistics.maj_at_k(arrays["correct"], arrays["votes"])
        assert score["p95_tokens"] == np.quantile(arrays["tokens"], 0.95) >= score["mean_tokens"]
        assert score["timeouts"] == 0.0 and score["by_subject"] == {}
        assert {level: group["n"] for level, group in score["by_level"].items()} == {
            level: levels.count(level) for level in ("1", "2", "3")
        }
        weighted = sum(g["n"] * g["accuracy"] for g in score["by_level"].values()) / summarised["n"]
        assert weighted == pytest.approx(score["accuracy"])
    assert list(summarised["paired"]) == ["ssb-base"]


def test_evaluations_of_one_method_count_as_its_seeds(
    quick_run: Run, evaluated: tuple[evaluate.Spec, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, student = evaluated
    stored, rng = evaluate.arrays, np.random.default_rng(0)
    shuffled = [rng.permutation(len(base.load_problem_set())) for _ in range(3)]
    trainings = iter(
        {name: a[order][:, ::-1] for name, a in stored(student, quick_run.store).items()} for order in shuffled
    )
    monkeypatch.setattr(evaluate, "arrays", lambda s, store: stored(s, store) if s is base else next(trainings))
    summarised = benchmarks(quick_run, [base, student, student, student])["nano-test"]
    correct = np.stack([stored(student, quick_run.store)["correct"][order] for order in shuffled])
    score = summarised["models"]["ssb"]
    assert score["seeds"] == pytest.approx(correct.mean(axis=(1, 2))) and "seeds" not in summarised["models"]["base"]
    assert score["ci95"] == statistics.accuracy(correct)[1]
    of_base = stored(base, quick_run.store)["correct"]
    assert summarised["paired"]["ssb-base"]["ci95"] == statistics.paired(correct, of_base).ci95


def test_every_model_is_compared_with_the_base_and_ssb_with_every_other(
    quick_run: Run, evaluated: tuple[evaluate.Spec, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    base, student = evaluated
    names = iter(["base", "grpo", "ssb", "sft"])
    monkeypatch.setattr(evaluate.Spec, "model_name", property(lambda self: next(names)))
    paired = benchmarks(quick_run, [base, base, student, base])["nano-test"]["paired"]
    assert list(paired) == ["grpo-base", "ssb-base", "sft-base", "ssb-grpo", "ssb-sft"]
    assert paired["ssb-grpo"] == paired["ssb-base"] and paired["sft-base"]["wins"] == paired["sft-base"]["losses"] == 0


def test_a_benchmarks_own_decoding_changes_its_request_alone(tmp_path: Path) -> None:
    two = "evaluate.benchmarks=[{name: nano-test, source: nano-test}, {name: nano-hard, source: nano-hard%s}]"
    plain, own = (
        Pipeline.of(presets.load_config("quickstart", overrides=[*SMALL, two % stated]), tmp_path).evaluations(None)
        for stated in ("", ", samples: 1, temperature: 0, top_k: 3, max_new_tokens: 32")
    )
    assert own[0].recipe == plain[0].recipe and own[0].fingerprint == plain[0].fingerprint
    assert own[1].recipe != plain[1].recipe
    assert (own[1].samples, own[1].decoding.temperature, own[1].decoding.top_k) == (1, 0.0, 3)
    assert own[1].decoding.max_new_tokens == 32


def test_the_context_is_checked_against_a_benchmarks_own_token_cap(small: RunConfig, tmp_path: Path) -> None:
    (benchmark,) = small.evaluate.benchmarks
    wide = small.evaluate.model_copy(update={"benchmarks": (benchmark.model_copy(update={"max_new_tokens": 10**6}),)})
    pipeline = Pipeline.of(small.model_copy(update={"evaluate": wide}), tmp_path)
    with pytest.raises(ConfigError, match=r"evaluate.max_new_tokens \(on nano-test\)"):
        pipeline.check_model()


@pytest.mark.parametrize(
    ("preset_benchmark", "file", "written", "status"),
    [
        ("aime2024", "aime24.jsonl", r"so $m+n = \boxed{25}$", "correct"),
        ("aime2024", "aime24.jsonl", r"\boxed{025}", "correct"),
        ("aime2024", "aime24.jsonl", r"\boxed{250}", "incorrect"),
        ("math500", "math500.jsonl", r"\boxed{(3, \pi/2)}", "correct"),
        ("math500", "math500.jsonl", r"\boxed{\left(3,\dfrac{\pi}{2}\right)}", "correct"),
        ("math500", "math500.jsonl", r"\boxed{\left(3,\frac{\pi}{3}\right)}", "incorrect"),
    ],
)
def test_the_papers_benchmarks_accept_padded_integers_and_latex(
    data: Path, preset_benchmark: str, file: str, written: str, status: str
) -> None:
    (benchmark,) = [b for b in presets.load_config("paper").evaluate.benchmarks if b.name == preset_benchmark]
    gold = {"aime2024": "025", "math500": r"\left( 3, \frac{\pi}{2} \right)"}[preset_benchmark]
    local = benchmark.model_copy(update={"source": str(data / file)})
    assert gold in {p.answer for p in problems.load_problems(local)}
    with verify.Verifier(benchmark.completion_form) as verifier:
        (verdict,) = verifier.grade([(written, gold)])
    assert verdict.status == status
