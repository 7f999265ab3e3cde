"""report.html: its numbers are the summary's, and what models wrote stays text."""

from __future__ import annotations

import itertools
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch

from ssb_core import report
from ssb_core.config import Benchmark, ProblemsConfig, RunConfig
from ssb_core.records import Rejection
from ssb_core.report import header
from ssb_core.report import html as html_report
from ssb_core.report.problem_history import render
from ssb_core.report.verdict import verdict_in_words
from ssb_core.results import hint_effect, queries
from ssb_core.results.adapter import TrainedAdapter, load_adapter
from ssb_core.results.problem_history import load_flipped, load_history
from ssb_core.runs import Run
from ssb_core.signal.marks import AnnotatedSolution, Shift, TokenEffect
from ssb_core.store import Store
from tests.support.pages import Page
from tests.support.runs import HOSTILE, copied, mark_all, poison, run_stages

DEFAULT_URL = "http://127.0.0.1:8000/v1"  # a default among the settings, shown as text


@pytest.fixture(scope="module")
def html(quick_run: Run) -> str:
    return report.page(quick_run)


def hot(text: str, kl: float) -> TokenEffect:
    return TokenEffect(text, kl, Shift(text, 0.25, 0.75), Shift("-", 0.5, 0.0))


def test_the_funnel_in_the_html_accounts_for_every_problem(quick_run: Run, html: str) -> None:
    steps, counts = queries.load_funnel(quick_run), quick_run.load_summary()["yield"]
    assert [s.name for s in steps] == ["sampled", "mixed", "taught", "trained on"]
    assert [s.kept for s in steps[:3]] == [counts["problems"], counts["mixed"], counts["taught"]]
    for before, after in itertools.pairwise(steps):
        assert before.kept == after.kept + sum(after.dropped.values())
    rows = [(row[0], int(row[1])) for row in Page(html).tables["yield"][1:]]
    expected = [
        line
        for s in steps
        for line in [(s.name, s.kept), *((f"dropped: {r.replace('_', ' ')}", n) for r, n in s.dropped.items())]
    ]
    assert rows == expected


def test_the_stage_table_is_that_of_the_summary(quick_run: Run, html: str) -> None:
    summary = quick_run.load_summary()
    rows = {row[0]: row for row in Page(html).tables["stages"][1:]}
    assert list(rows) == ["rollouts", "select", "teach", "distill", "evaluate"]
    for name, stage in summary["stages"].items():
        cells = (stage["status"], f"{stage['shards']:,}", f"{stage['shards_reused']:,}", f"{stage['rows']:,}")
        assert (rows[name][1], *rows[name][3:6]) == cells
        assert rows[name][6] == (f"{stage['tokens']:,}" if "tokens" in stage else "")
        assert rows[name][7] == summary["fingerprints"][name]
    for name in ("rollouts", "evaluate"):
        assert summary["stages"][name]["tokens"] == sum(m.stats["tokens"] for m in quick_run.manifests(name))


def test_before_and_after_are_the_problems_that_changed_most(quick_run: Run, html: str) -> None:
    histories = load_flipped(quick_run, better=3, worse=2)
    base, student = (e.manifest for e in queries.load_evaluations(quick_run))
    tables = [quick_run.store.tables(m, ["problem_id", "verdict"]) for m in (base, student)]
    rows = [[r for t in of for r in t.to_pylist()] for of in tables]
    right = [Counter(r["problem_id"] for r in of if r["verdict"]["status"] == "correct") for of in rows]
    changes = [right[1][h.problem.id] - right[0][h.problem.id] for h in histories]
    every = {i: right[1][i] - right[0][i] for i in right[0] | right[1]}
    up, down = ([c for c in changes if keep(c)] for keep in (lambda c: c > 0, lambda c: c < 0))
    assert up == sorted((c for c in every.values() if c > 0), reverse=True)[:3]
    assert down == sorted(c for c in every.values() if c < 0)[:2]
    assert [what for what, _ in histories[0].samples] == ["base on nano-test", "ssb on nano-test"]
    text = "".join(Page(html).text)
    assert all(h.problem.question in text for h in histories[:2])


def test_what_models_wrote_is_shown_as_text(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    for stage in ("rollouts", "teach"):
        poison(run, stage, HOSTILE)
    html = report.page(run)
    page = Page(html)
    assert "<script" not in html and "alert(1)</script>" not in html
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "iframe", "object", "link"})
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count(HOSTILE) == 3 * (4 + 1)  # three stories: four rollouts and a solution each


def test_the_html_needs_nothing_from_outside(html: str) -> None:
    tags = Page(html).tags
    assert sum(tag == "svg" for tag, _ in tags) == 5
    assert not any(name in ("src", "srcset", "xlink:href") for _, attributes in tags for name in attributes)
    assert not re.search(r"(url\((?!#)|@import|https?://)", html.replace(DEFAULT_URL, ""))


def test_every_link_of_the_html_leads_to_one_place_of_it(html: str) -> None:
    tags = Page(html).tags
    ids = Counter(a["id"] for _, a in tags if "id" in a)
    links = [unquote(a["href"] or "") for _, a in tags if "href" in a]
    assert max(ids.values()) == 1 and all(link[0] == "#" and link[1:] in ids for link in links)
    anchors = {a["id"] for tag, a in tags if tag == "section"}
    assert len(anchors) == html.count("<h2>") == 9 and {f"#{anchor}" for anchor in anchors} <= set(links)


def test_the_top_says_what_the_run_was_made_from_and_how_to_use_it(quick_run: Run, html: str) -> None:
    words = "".join(Page(html).text)
    adapter = load_adapter(quick_run)
    assert adapter and str(adapter.directory) in words and header.finished_at(quick_run) in words
    assert "nano, float32" in words and "nano-train" in words and "These problems are synthetic" in words
    assert shlex.split(header.command(quick_run)) == [
        *("ssb", "run", "--config", str(quick_run.directory / "config.yaml"), "--name", quick_run.name),
        *("--runs", str(quick_run.directory.parent), "--store", str(quick_run.store.root)),
    ]
    code, made = header.loading_code(adapter), dict[str, Any]()
    assert code in words and header.command(quick_run) in words
    exec(code, made)  # as a reader does who copies it
    assert {type(made["student"]).__name__, made["model"].dtype} == {"PeftModelForCausalLM", torch.float32}
    assert "lora_" in "".join(made["student"].state_dict())


def test_a_base_on_the_hub_is_loaded_at_the_commit_of_the_run() -> None:
    adapter = TrainedAdapter(Path("/it's/adapter"), "Qwen/Qwen2.5-3B", "abc123", "bfloat16")
    code = header.loading_code(adapter)
    compile(code, "page", "exec")
    assert code.count("revision='abc123'") == 2 and 'from_pretrained(model, "/it\'s/adapter")' in code


@pytest.mark.parametrize("stop", ["rollouts", "select", "teach", "distill"])
def test_a_run_that_stopped_early_leaves_out_what_it_lacks(
    quick_run: Run, small: RunConfig, tmp_path: Path, stop: str
) -> None:
    run = run_stages(small, copied(quick_run, tmp_path).store, tmp_path / "runs" / "early", stop)
    page = Page(report.write(run).read_text(encoding="utf-8"))
    headings = "".join(page.text)
    reached = ["rollouts", "select", "teach", "distill"].index(stop)
    expected = {"From problems to traces": 1, "Teacher signal": 2, "Worked examples": 2, "Training": 3, "Results": 9}
    for heading, since in expected.items():
        assert (f"\n{heading}\n" in headings) == (reached >= since), heading
    assert set(report.draw_charts(run)) == {k for k, n in {"yield": 1, "training": 3}.items() if reached >= n}
    assert verdict_in_words(run.load_summary()) == "This run did not evaluate its models."


def test_unverifiable_training_problems_are_counted_listed_and_in_histories(small: RunConfig, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.jsonl"
    mixed.write_text(
        '{"question": "Mia has 3 pens. How many pens does Mia have now?", "answer": "3"}\n'
        '{"question": "What is it?", "answer": " "}\n{"question": "Which <b>?", "answer": "\\\\boxed{}"}\n'
    )
    spoilt = small.model_copy(update={"problems": ProblemsConfig(source=str(mixed))})
    run = run_stages(spoilt, Store(tmp_path / "store"), tmp_path / "runs" / "spoilt", stop="select")
    assert (run.load_summary()["yield"]["problems"], run.load_summary()["yield"]["bad_gold"]) == (1, 2)
    page = Page(report.page(run))
    assert page.tables[""][:3] == [
        ["problem", "its reference answer"],
        ["mixed-00002", "it is empty"],
        ["mixed-00003", "it has no answer of form 'boxed'"],
    ]
    history = load_history(run, "mixed-00003")
    assert history.rejection == Rejection("mixed-00003", "load", "it has no answer of form 'boxed'")
    assert "reference answer: it has no answer of form 'boxed'." in " ".join(render(history).split())
    assert "Which <b>?" in render(history)


def test_unverifiable_benchmark_problems_are_counted_and_listed(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    held = tmp_path / "held.jsonl"
    held.write_text(
        '{"question": "Mia has 3 pens. How many pens does Mia have now?", "answer": "3"}\n'
        '{"question": "What is it?", "answer": " "}\n'
    )
    benchmarks = (Benchmark(name="held", source=str(held)),)
    spoilt = small.model_copy(update={"evaluate": small.evaluate.model_copy(update={"benchmarks": benchmarks})})
    run = run_stages(spoilt, copied(quick_run, tmp_path).store, tmp_path / "runs" / "spoilt")
    bench = run.load_summary()["benchmarks"]["held"]
    assert (bench["n"], bench["bad_gold"], run.load_summary()["yield"]["bad_gold"]) == (1, 1, 0)
    html = report.page(run)
    assert Page(html).tables[""][:2] == [["problem", "its reference answer"], ["held-00002", "it is empty"]]
    assert html.index("<h2>Results") < html.index("held-00002") < html.index("<h2>From problems to traces")


def test_the_heat_map_is_the_solution_token_by_token(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    hostile = HOSTILE.replace("</pre>", "")  # where this page's text is looked for below
    effects = [
        hot("It is", 0.004),
        hot("\n", 0.01),
        hot("", 0.02),
        hot("é", 0.3),
        hot(hostile, 7.0),
        hot("\n\ufffd", 0),
    ]
    mark_all(run, AnnotatedSolution("p<b>", 900, tuple(effects)))
    html = report.page(run)
    page = Page(html)
    (solution,) = re.findall(r'<pre class="heat" id="heat">(.*?)</pre>', html, re.DOTALL)
    inner = Page(solution)
    assert "".join(inner.text) == "".join(m.text for m in effects)
    assert [a["class"] for _, a in inner.tags] == ["heat0", "heat1 ends-line", "heat1", "heat4", "heat6", "heat0"]
    titles = [a["title"] for _, a in inner.tags]
    assert titles[3] == "'é': 0.300 nats\nraised: 'é' 25.0% → 75.0%\nlowered: '-' 50.0% → 0.0%"
    assert titles[4] == f"{hostile!r}: 7.000 nats\nraised: {hostile!r} 25.0% → 75.0%\nlowered: '-' 50.0% → 0.0%"
    assert "<script" not in html and not any(n.startswith("on") for _, a in page.tags for n in a)
    assert [row[:2] for row in page.tables["hint"][1:]] == [
        [repr(hostile), "7.000"],
        ["'é'", "0.300"],
        ["''", "0.020"],
        ["'\\n'", "0.010"],
    ]
    words = " ".join("".join(page.text).split())
    assert "The taught solution to p<b>, coloured" in words and "The mean is 1.222 nats per token." in words
    assert "These are the first 6 of 900 tokens." in words
    assert "below 0.01 0.01 0.03 0.1 0.3 1 3 or more" in words
    assert all(f".heat{step} {{" in html for step in range(len(html_report.HEAT) + 1))


def test_the_heat_map_shows_the_median_solution_if_there_is_any(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = copied(quick_run, tmp_path)
    mark_all(run, None)
    assert hint_effect.load_annotated_solution(run) is None
    assert "changed the teacher's mind" not in " ".join(Page(report.page(run)).text)
    shards = hint_effect._shards(run.manifests("teach"))
    monkeypatch.setattr(hint_effect, "_shards", lambda manifests: [shards[0]] * 4)
    stored = iter(
        [AnnotatedSolution("most", 1, (hot("x", 0.5),)), None, AnnotatedSolution("least", 1, (hot("x", 0.1),))]
    )
    monkeypatch.setattr(
        AnnotatedSolution, "load", lambda metadata: next(stored, AnnotatedSolution("median", 1, (hot("x", 0.2),)))
    )
    solution = hint_effect.load_annotated_solution(run)
    assert solution and solution.problem_id == "median"
