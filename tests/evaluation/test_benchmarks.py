"""What results say of a benchmark: its prompt and content, whether it is partial, and what training may have seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssb_core import problems, prompts, report
from ssb_core.config import Benchmark, RunConfig
from ssb_core.evaluation import benchmarks
from ssb_core.report import charts
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import evaluate
from tests.support.pages import Page
from tests.support.runs import copied, run_stages


def spec(small: RunConfig, root: Path, limit: int | None = None, fields: dict[str, int] | None = None) -> evaluate.Spec:
    """The base's request of a benchmark like nano-hard, under ``evaluate.limit``."""
    b = Benchmark.model_validate({"name": "b", "source": "nano-hard"} | (fields or {}))
    changes = {"benchmarks": (b,), "limit": limit}
    settings = small.model_copy(update={"evaluate": small.evaluate.model_copy(update=changes)})
    return Pipeline.of(settings, root).evaluations(None)[0]


@pytest.mark.parametrize(
    ("limit", "fields", "n"),
    [
        (None, {}, 256),
        (256, {}, 256),
        (1000, {"limit": 256}, 256),
        (20, {}, 20),
        (20, {"limit": 10}, 10),
        (20, {"skip": 250}, 6),
        (None, {"skip": 200}, 56),
    ],
)
def test_a_result_is_partial_if_problems_of_the_benchmark_are_left_out(
    small: RunConfig, tmp_path: Path, limit: int | None, fields: dict[str, int], n: int
) -> None:
    request = spec(small, tmp_path, limit, fields)
    description = benchmarks.describe(request, None)
    assert len(request.load_problem_set()) == n
    assert (description["partial"], description["of"]) == (n < 256, 256)


def test_a_limit_changes_which_problems_are_asked_and_not_how(small: RunConfig, tmp_path: Path) -> None:
    whole, part = spec(small, tmp_path), spec(small, tmp_path, 20)
    assert part.load_problem_set() == whole.load_problem_set()[:20]
    assert part.recipe == whole.recipe and part.fingerprint != whole.fingerprint


def test_a_benchmark_is_described_with_its_problems_prompt_and_decoding(quick_run: Run, small: RunConfig) -> None:
    description = quick_run.load_summary()["benchmarks"]["nano-test"]
    problem_set = problems.load_problems(small.evaluate.benchmarks[0])
    assert description["content"] == problems.content_digest(problem_set) and description["n"] == len(problem_set)
    assert (description["source"], description["subset"], description["split"]) == ("nano-test", None, None)
    assert (description["form"], description["answer_form"], description["overlap"]) == ("boxed", "boxed", [])
    assert description["decoding"]["max_new_tokens"] == small.evaluate.max_new_tokens
    assert description["prompt"] == prompts.tutor_messages("{question}")
    page = Page(report.page(quick_run))
    rows = dict(page.tables["described-nano-test"])
    assert rows["problems"] == "48 of 512 problems" and rows["content digest"] == description["content"]
    assert rows["decoding"] == "temperature 0.8, top-k 50, at most 240 tokens, seed 0"
    assert prompts.TUTOR_SYSTEM in page.text


def test_of_a_hub_set_subset_and_split_are_stated(small: RunConfig) -> None:
    b = Benchmark(name="gsm8k", source="openai/gsm8k", subset="main", form="hash")
    assert benchmarks._source(b) == {"source": "openai/gsm8k", "subset": "main", "split": "test"}


def test_partial_results_are_marked_wherever_they_show(quick_run: Run) -> None:
    summary = quick_run.load_summary()
    assert {row["benchmark"] for row in report.results_table(summary)} == {"nano-test (partial)"}
    assert report.verdict_in_words(summary).startswith("On nano-test (partial: 48 of 512 problems), SSB")
    only_base = {"benchmarks": {"nano-test": summary["benchmarks"]["nano-test"] | {"paired": {}}}}
    assert "on nano-test (partial: 48 of 512 problems); there" in report.verdict_in_words(only_base)


def test_charts_name_what_is_partial(quick_run: Run) -> None:
    accuracy, lengths = charts.draw_accuracy(quick_run.load_summary()["benchmarks"]), charts.draw_lengths(quick_run)
    assert accuracy and lengths
    assert [t.get_text() for t in accuracy.figure.axes[0].texts][-2:] == ["nano-test", "partial: 48 of 512 problems"]
    assert lengths.title == "Completion length on nano-test (partial: 48 of 512 problems)"


def test_benchmark_problems_among_the_training_problems_are_counted_and_listed(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    seen = problems.load_problems(small.problems)[3]
    rows = [{"id": "seen<b>", "question": seen.question.upper(), "answer": seen.answer}]
    rows += [{"id": "new", "question": "Mia has 3 pens. How many pens does Mia have now?", "answer": "3"}]
    (tmp_path / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    held = (Benchmark(name="held", source=str(tmp_path / "held.jsonl"), id="id"),)
    settings = small.model_copy(update={"evaluate": small.evaluate.model_copy(update={"benchmarks": held})})
    run = run_stages(settings, copied(quick_run, tmp_path).store, tmp_path / "runs" / "seen")
    benchmark = run.load_summary()["benchmarks"]["held"]
    assert benchmark["overlap"] == [{"id": "seen<b>", "training_id": seen.id}] and not benchmark["partial"]
    html = report.page(run)
    assert Page(html).tables["contamination-held"][1:] == [["seen<b>", seen.id]] and "seen<b>" not in html
    warning = f"Warning: 1 of held's problems is also among the training problems: 'seen<b>' (as {seen.id!r})."
    assert warning in report.verdict_in_words(run.load_summary())
