"""Comparisons: numbers are the summary's, flips account for the difference, and notes say what else differs."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from ssb_core.config import Benchmark, RunConfig
from ssb_core.errors import ConfigError
from ssb_core.problems import load
from ssb_core.report.verdict import comparison_in_words
from ssb_core.results import compare
from ssb_core.results.compare import Side
from ssb_core.runs import Run
from tests.support.runs import copied, run_stages
from tests.support.samples import problem_samples

PENS = "Mia has {} pens. She buys 2 more. How many pens does Mia have now?"


def sides(run: Run) -> tuple[Side, Side]:
    return Side(run, "base"), Side(run, "ssb")


def evaluated(run: Run, small: RunConfig, name: str, **changes: object) -> Run:
    """Another run in the store of `run` that differs in its evaluation."""
    settings = small.model_copy(update={"evaluate": small.evaluate.model_copy(update=changes)})
    return run_stages(settings, run.store, run.directory.parent / name)


def benchmark_of(path: Path, *starts: int) -> tuple[Benchmark]:
    """A benchmark of problems that start with so many pens. The ids do not depend on the numbers."""
    rows = [{"id": f"p{i}", "question": PENS.format(n), "answer": n + 2} for i, n in enumerate(starts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return (Benchmark(name="pens", source=str(path), id="id"),)


def test_accuracy_intervals_and_difference_are_those_of_the_summary(quick_run: Run) -> None:
    (comparison,) = compare.compare(*sides(quick_run)).benchmarks
    summary = quick_run.load_summary()["benchmarks"]["nano-test"]
    for score, model in ((comparison.first, "base"), (comparison.second, "ssb")):
        of = summary["models"][model]
        assert (score.accuracy, list(score.ci95), score.samples) == (of["accuracy"], of["ci95"], summary["samples"])
    paired = summary["paired"]["ssb-base"]
    assert comparison.paired.difference == paired["difference"]
    assert (list(comparison.paired.ci95), comparison.paired.p_value) == (paired["ci95"], paired["p_value"])
    assert (comparison.n, comparison.of, comparison.partial) == (summary["n"], summary["of"], True)


def test_flips_account_for_the_difference_and_come_largest_first(quick_run: Run) -> None:
    (comparison,) = compare.compare(*sides(quick_run)).benchmarks
    flips = (*comparison.improved, *comparison.worsened)
    assert sum(f.change for f in flips) / comparison.n == pytest.approx(comparison.paired.difference)
    assert len(flips) + comparison.alike == comparison.n
    assert all(f.change > 0 for f in comparison.improved) and all(f.change < 0 for f in comparison.worsened)
    for group in (comparison.improved, comparison.worsened):
        assert all(abs(a.change) >= abs(b.change) for a, b in pairwise(group))


def test_the_other_way_round_better_is_worse(quick_run: Run) -> None:
    base, ssb = sides(quick_run)
    (there,), (back,) = compare.compare(base, ssb).benchmarks, compare.compare(ssb, base).benchmarks
    assert back.paired.difference == -there.paired.difference
    assert [f.first.problem for f in back.worsened] == [f.first.problem for f in there.improved]


def test_a_run_on_fewer_problems_is_compared_on_the_common_ones_with_a_note(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    whole = copied(quick_run, tmp_path)
    smoke = evaluated(whole, small, "smoke", limit=16)
    assert smoke.load_summary()["stages"]["evaluate"]["status"] == "cached"  # whole shards of the longer run are shared
    first, second = compare.load_side(tmp_path / "runs", "quick", None, whole.store), Side(smoke, "ssb")
    (comparison,) = compare.compare(first, second).benchmarks
    assert (comparison.n, comparison.of, len(comparison.improved), len(comparison.worsened)) == (16, 512, 0, 0)
    assert comparison.notes == (
        "quick:ssb is a partial result: 48 of 512 problems",
        "smoke:ssb is a partial result: 16 of 512 problems",
        "the problem sets differ, so only problems that both answered are compared",
        "only quick:ssb answered: 'nano-test-0016', 'nano-test-0017', 'nano-test-0018' and 29 more",
    )
    assert "On 16 of 512 problems of nano-test, smoke:ssb" in comparison_in_words(comparison, first, second)


def test_problems_with_the_same_id_but_another_question_are_not_compared(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    run = copied(quick_run, tmp_path)
    first = Side(evaluated(run, small, "first", benchmarks=benchmark_of(tmp_path / "a.jsonl", 3, 4)), "base")
    second = Side(evaluated(run, small, "second", benchmarks=benchmark_of(tmp_path / "b.jsonl", 3, 5)), "base")
    third = Side(evaluated(run, small, "third", benchmarks=benchmark_of(tmp_path / "c.jsonl", 6, 7)), "base")
    (comparison,) = compare.compare(first, second).benchmarks
    assert comparison.n == 1 and comparison.partial
    assert comparison.notes[1:] == ("question or reference answer differs between the two: 'p1'",)
    with pytest.raises(ConfigError, match="first:base and third:base answered no common problem"):
        compare.compare(first, third)
    with pytest.raises(ConfigError, match="no benchmark to compare on: first:base was evaluated on pens; quick:ssb"):
        compare.compare(first, Side(run, "ssb"))
    benchmark_of(tmp_path / "a.jsonl", 3, 9)
    load._read_version.cache_clear()
    with pytest.raises(ConfigError, match=r"a\.jsonl is no longer what run first read.*\n  remedy"):
        compare.compare(first, second)


def test_notes_name_the_differences_in_prompt_and_sampling() -> None:
    how = {"prompt_digest": "a", "decoding": {"temperature": 0.0, "max_new_tokens": 64}, "samples": 1}
    how["answer_form"] = "boxed"
    other = how | {"prompt_digest": "b", "decoding": {"temperature": 0.8, "max_new_tokens": 64}, "samples": 4}
    assert compare.differences(how, how) == []
    assert compare.differences(how, other) == [
        "prompts differ: a and b; the page shows both",
        "temperature differs: 0.0 and 0.8",
        "samples differs: 1 and 4",
    ]


@pytest.mark.parametrize(
    ("text", "model", "said"),
    [
        ("quick:grpo", None, "run quick evaluated no model 'grpo'\n  remedy: give one of: base, ssb"),
        ("quick", "sft", "run quick evaluated no model 'sft'"),
        ("none:ssb", None, "there is no finished run 'none'"),
    ],
)
def test_a_run_or_model_that_does_not_exist_is_refused(quick_run: Run, text: str, model: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compare.load_side(quick_run.directory.parent, text, model, quick_run.store)
    assert said in str(refused.value)


def test_sides_are_named_by_run_and_model_and_the_student_is_the_default(quick_run: Run) -> None:
    runs, store = quick_run.directory.parent, quick_run.store
    named = [("quick", None), ("latest", "base"), ("quick:base", "ssb")]
    assert [compare.load_side(runs, *n, store).label for n in named] == ["quick:ssb", "quick:base", "quick:base"]


def test_a_model_with_itself_and_a_run_without_evaluation_are_refused(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    student = Side(quick_run, "ssb")
    with pytest.raises(ConfigError, match=r"same model of the same run\n  remedy: .*compare quick:base quick:ssb"):
        compare.compare(student, student)
    run = copied(quick_run, tmp_path)
    run_stages(small, run.store, tmp_path / "runs" / "early", stop="teach")
    with pytest.raises(ConfigError, match=r"run early evaluated no model.*\n  remedy: ssb run --config"):
        compare.load_side(tmp_path / "runs", "early", None, run.store)


def test_the_most_common_answer_is_none_if_most_samples_state_none() -> None:
    assert problem_samples("+-+", "aba").answer == "a"
    assert problem_samples("---", "  b").answer is None


def test_figures_are_plain_json_with_every_flip_by_id(quick_run: Run) -> None:
    whole = compare.compare(*sides(quick_run))
    figures = json.loads(json.dumps(compare.figures(whole), allow_nan=False))["benchmarks"]["nano-test"]
    (comparison,) = whole.benchmarks
    assert [f["id"] for f in figures["improved"]] == [f.first.problem.id for f in comparison.improved]
    assert all(f["change"] == f["second"]["correct"] - f["first"]["correct"] for f in figures["worsened"])
    assert (figures["n"], figures["of"], figures["partial"], figures["alike"]) == (48, 512, True, comparison.alike)
