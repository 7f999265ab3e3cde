"""Comparisons: numbers are the summary's, flips account for the difference, and what differs is told or refused."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from ssb_core.config import Benchmark, RunConfig
from ssb_core.errors import ConfigError
from ssb_core.evaluation import statistics
from ssb_core.problems import load
from ssb_core.records import PairedDifference, Problem, Sample, Verdict
from ssb_core.report import compare_html
from ssb_core.results import compare
from ssb_core.results.compare import Answered, Compared, Flip, Score, Side
from ssb_core.runs import Run
from tests.support.pages import Page
from tests.support.runs import HOSTILE, copied, poison, run_stages

PENS = "Mia has {} pens. She buys 2 more. How many pens does Mia have now?"


def sides(run: Run) -> tuple[Side, Side]:
    return Side(run, "base"), Side(run, "ssb")


def evaluated(run: Run, small: RunConfig, name: str, **changes: object) -> Run:
    """Another run in the store of `run`, that differs in its evaluation."""
    settings = small.model_copy(update={"evaluate": small.evaluate.model_copy(update=changes)})
    return run_stages(settings, run.store, run.directory.parent / name)


def asked(path: Path, *starts: int) -> tuple[Benchmark]:
    """A benchmark of these problems; ids are the same whatever they ask."""
    rows = [{"id": f"p{i}", "question": PENS.format(n), "answer": n + 2} for i, n in enumerate(starts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return (Benchmark(name="pens", source=str(path), id="id"),)


def answered(rights: str, answers: str = "") -> Answered:
    """Samples right (``+``) or wrong (``-``), and the letters they answer."""
    verdicts = [
        Verdict("correct" if right == "+" else "incorrect", letter if letter != " " else None)
        for right, letter in zip(rights, answers or "x" * len(rights), strict=True)
    ]
    samples = (
        Sample(
            problem_id="p",
            index=i,
            seed=0,
            prompt_hash="hash",
            completion_ids=(1,),
            text="text",
            finish_reason="stop",
            verdict=v,
        )
        for i, v in enumerate(verdicts)
    )
    return Answered(Problem("p", "?", "1"), tuple(samples))


def test_accuracy_intervals_and_difference_are_those_of_the_summary(quick_run: Run) -> None:
    (found,) = compare.compare(*sides(quick_run)).benchmarks
    told = quick_run.load_summary()["benchmarks"]["nano-test"]
    for score, model in ((found.first, "base"), (found.second, "ssb")):
        of = told["models"][model]
        assert (score.accuracy, list(score.ci95), score.samples) == (of["accuracy"], of["ci95"], told["samples"])
    paired = told["paired"]["ssb-base"]
    assert found.paired.difference == paired["difference"]
    assert (list(found.paired.ci95), found.paired.p_value) == (paired["ci95"], paired["p_value"])
    assert (found.n, found.of, found.partial) == (told["n"], told["of"], True)


def test_flips_account_for_the_difference_and_come_largest_first(quick_run: Run) -> None:
    (found,) = compare.compare(*sides(quick_run)).benchmarks
    flips = (*found.improved, *found.worsened)
    assert sum(f.change for f in flips) / found.n == pytest.approx(found.paired.difference)
    assert len(flips) + found.alike == found.n
    assert all(f.change > 0 for f in found.improved) and all(f.change < 0 for f in found.worsened)
    for group in (found.improved, found.worsened):
        assert all(abs(a.change) >= abs(b.change) for a, b in pairwise(group))


def test_the_other_way_round_better_is_worse(quick_run: Run) -> None:
    base, ssb = sides(quick_run)
    (there,), (back,) = compare.compare(base, ssb).benchmarks, compare.compare(ssb, base).benchmarks
    assert back.paired.difference == -there.paired.difference
    assert [f.first.problem for f in back.worsened] == [f.first.problem for f in there.improved]


def test_a_run_on_fewer_problems_is_compared_on_the_common_ones_and_that_is_told(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    whole = copied(quick_run, tmp_path)
    smoke = evaluated(whole, small, "smoke", limit=16)
    assert smoke.summary["stages"]["evaluate"]["status"] == "cached"  # whole shards of the longer run are shared
    first, second = compare.load_side(tmp_path / "runs", "quick", None, whole.store), Side(smoke, "ssb")
    (found,) = compare.compare(first, second).benchmarks
    assert (found.n, found.of, len(found.improved), len(found.worsened)) == (16, 512, 0, 0)
    assert found.notes == (
        "quick:ssb is a partial result: 48 of 512 problems",
        "smoke:ssb is a partial result: 16 of 512 problems",
        "the problem sets differ, so only what both answered is compared",
        "only quick:ssb answered: 'nano-test-0016', 'nano-test-0017', 'nano-test-0018' and 29 more",
    )
    assert "On 16 of 512 problems of nano-test, smoke:ssb" in comparison_in_words(found, first, second)


def test_problems_with_the_same_id_and_another_question_are_not_compared(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    run = copied(quick_run, tmp_path)
    first = Side(evaluated(run, small, "first", benchmarks=asked(tmp_path / "a.jsonl", 3, 4)), "base")
    second = Side(evaluated(run, small, "second", benchmarks=asked(tmp_path / "b.jsonl", 3, 5)), "base")
    third = Side(evaluated(run, small, "third", benchmarks=asked(tmp_path / "c.jsonl", 6, 7)), "base")
    (found,) = compare.compare(first, second).benchmarks
    assert found.n == 1 and found.partial
    assert found.notes[1:] == ("question or reference answer differs between the two: 'p1'",)
    with pytest.raises(ConfigError, match="first:base and third:base answered no common problem"):
        compare.compare(first, third)
    with pytest.raises(ConfigError, match="no benchmark to compare on: first:base was evaluated on pens; quick:ssb"):
        compare.compare(first, Side(run, "ssb"))
    asked(tmp_path / "a.jsonl", 3, 9)
    load._read_version.cache_clear()
    with pytest.raises(ConfigError, match=r"a\.jsonl is no longer what run first read.*\n  remedy"):
        compare.compare(first, second)


def test_what_was_asked_otherwise_is_named() -> None:
    how = {"prompt_digest": "a", "decoding": {"temperature": 0.0, "max_new_tokens": 64}, "samples": 1}
    how["answer_form"] = "boxed"
    other = how | {"prompt_digest": "b", "decoding": {"temperature": 0.8, "max_new_tokens": 64}, "samples": 4}
    assert compare.differences(how, how) == []
    assert compare.differences(how, other) == [
        "prompts differ: a and b; both are in the page",
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
def test_a_run_or_model_that_is_not_there_is_refused(quick_run: Run, text: str, model: str | None, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        compare.load_side(quick_run.directory.parent, text, model, quick_run.store)
    assert said in str(refused.value)


def test_sides_are_named_by_run_and_model_and_the_student_goes_first(quick_run: Run) -> None:
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


def test_a_flip_in_words() -> None:
    assert compare_html.change(Flip(answered("-"), answered("+"))) == "wrong to right"
    assert compare_html.change(Flip(answered("+"), answered("-"))) == "right to wrong"
    assert compare_html.change(Flip(answered("--+"), answered("++++"))) == "1 of 3 right, then 4 of 4"


def test_the_most_common_answer_is_none_where_most_samples_state_none() -> None:
    assert answered("+-+", "aba").answer == "a"
    assert answered("---", "  b").answer is None


def differs(difference: float, ci95: tuple[float, float], p_value: float) -> PairedDifference:
    return PairedDifference(
        difference=difference,
        ci95=ci95,
        p_value=p_value,
        wins=8,
        losses=2,
        standard_error=0.03,
        minimum_detectable_effect=0.1,
    )


@pytest.mark.parametrize(
    ("paired", "words"),
    [
        (differs(0.1, (0.04, 0.16), 0.01), "is better than quick:base (30.0%): +10.0 points, distinguishable"),
        (differs(-0.1, (-0.16, -0.04), 0.01), "is worse than quick:base (30.0%): -10.0 points, disting"),
        (differs(0.1, (0.01, 0.2), 0.06), "cannot be told apart from quick:base (30.0%): +10.0 points, not"),
    ],
)
def test_the_words_say_whether_it_is_noise(quick_run: Run, paired: PairedDifference, words: str) -> None:
    first, second = (Score(rate, statistics.wilson(100 * rate, 100), 1) for rate in (0.3, 0.3 + paired.difference))
    compared = Compared("math500", 100, 100, first, second, paired, (), (), ())
    assert words in comparison_in_words(compared, *sides(quick_run))


def test_the_page_has_both_texts_of_every_flip_beside_each_other_as_text(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    poison(run, "evaluate", HOSTILE)
    comparison = compare.compare(*sides(run))
    (found,) = comparison.benchmarks
    html = compare_html.page(comparison)
    page, flips = Page(html), (*found.improved, *found.worsened)
    assert flips and page.text.count(HOSTILE) == len(flips) * (4 + 4)
    assert "<script" not in html and not any(n.startswith("on") for _, a in page.tags for n in a)
    assert sum(a.get("class") == "flip" for _, a in page.tags) == len(flips)
    words = "".join(page.text)
    assert all(f.first.problem.question in words and f.first.problem.id in words for f in flips)
    cells = comparison_table(found, *sides(run))
    assert page.tables["paired-nano-test"] == [list(cells[0]), *(list(row.values()) for row in cells)]
    assert comparison_in_words(found, *sides(run)) in words


def test_the_figures_are_plain_json_with_every_flip_by_id(quick_run: Run) -> None:
    comparison = compare.compare(*sides(quick_run))
    told = json.loads(json.dumps(compare.as_json(comparison), allow_nan=False))["benchmarks"]["nano-test"]
    (found,) = comparison.benchmarks
    assert [f["id"] for f in told["improved"]] == [f.first.problem.id for f in found.improved]
    assert all(f["change"] == f["second"]["correct"] - f["first"]["correct"] for f in told["worsened"])
    assert (told["n"], told["of"], told["partial"], told["alike"]) == (48, 512, True, found.alike)
