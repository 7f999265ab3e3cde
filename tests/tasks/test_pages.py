"""The content of every artifact page, read as Markdown."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import pytest
from PIL import Image

from ssb_core import report
from ssb_core.config import RunConfig
from ssb_core.report import markdown
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import plan
from tasks.artifacts import Page
from tasks.pages import plan as plan_page
from tasks.pages import report as report_page
from tasks.pages import results, rollouts, selection, signal, solution, training
from tests.support.markdown import HOSTILE, PICTURE, fences, tables, tokens
from tests.support.runs import copied, poison


def text_of(page: Page | None) -> str:
    assert page and isinstance(page.body, str)
    return page.body


def test_the_plan_says_what_is_cached_and_why_the_rest_is_not(quick_run: Run, small: RunConfig) -> None:
    changed = small.model_copy(update={"distill": small.distill.model_copy(update={"epochs": 3})})
    pipeline = Pipeline.of(changed, quick_run.store.root)
    page = plan_page.page("mine", changed, plan(pipeline, quick_run.store, stop="distill", force={"select"}))
    rows, left = tables(text_of(page))
    assert [row[:2] for row in rows[2:]] == [
        ["rollouts wave 1", "cached"],
        ["select wave 1", "**forced**"],
        ["teach wave 1", "cached"],
        ["distill", "**stale**"],
    ]
    assert "2 -\\> 3" in rows[-1][2]
    assert left[0] == ["request", "samples", "tokens", "time", "disk"]
    assert [row[0] for row in left[2:]] == ["select wave 1", "distill"]
    assert re.fullmatch(r"\\?~[\d.]+ (s|min)", left[-1][3])
    assert "In total: about " in text_of(page)
    assert page.description == "4 requests of mine: 2 cached, 1 forced, 1 stale"


def test_rollouts_have_token_statistics(quick_run: Run) -> None:
    (manifest,) = quick_run.manifests("rollouts")
    ids = [row for table in quick_run.store.tables(manifest, ["completion_ids"]) for row in table["completion_ids"]]
    lengths = sorted(len(row) for row in ids)
    (rows,) = tables(text_of(rollouts.page(quick_run)))
    cells = dict(zip(rows[0], rows[2], strict=True))
    assert cells["samples"] == f"{len(lengths):,}" and cells["tokens"] == f"{sum(lengths):,}"
    assert float(cells["mean"]) == pytest.approx(sum(lengths) / len(lengths), abs=0.51)
    assert lengths[int(0.93 * len(lengths))] <= float(cells["p95"]) <= lengths[int(0.97 * len(lengths))] + 1
    assert cells["sampled by"].startswith("transformers")


def test_the_selection_has_every_step_and_two_pairs(quick_run: Run) -> None:
    counts = quick_run.load_summary()["yield"]
    page = selection.page(quick_run)
    (rows,) = tables(text_of(page))
    cells = {row[0].strip("*"): row[1:] for row in rows[2:]}
    assert cells["sampled"][:2] == [str(counts["problems"]), "100.0%"]
    assert cells["mixed"][:2] == [str(counts["mixed"]), f"{100 * counts['mixed'] / counts['problems']:.1f}%"]
    assert cells["dropped: all correct"][2].startswith("every rollout is correct")
    assert [t.info for t in tokens(text_of(page)) if t.type == "fence"] == ["text"] * 4
    assert len(re.findall(r"#\d correct, .*#\d wrong, ", text_of(page))) == 2


def test_a_solution_is_below_the_rollouts_that_it_was_written_from(quick_run: Run) -> None:
    question, pair, written = fences(text_of(solution.page(quick_run)))
    assert "Reference answer: " in question and "with the majority wrong answer" in question
    assert "\\boxed{" in written
    for line in pair.splitlines():
        assert len(line) <= markdown.WIDTH
    assert "correct" in pair.splitlines()[0] and "wrong" in pair.splitlines()[0]


def test_the_signal_has_its_certificate(quick_run: Run) -> None:
    expected = quick_run.load_summary()["signal"]
    (rows,) = tables(text_of(signal.page(quick_run)))
    cells = dict(rows[2:])
    assert cells["codec"] == expected["codec"] and cells["tokens"] == f"{expected['tokens']:,}"
    assert cells["bytes a token"] == f"{expected['bytes_per_token']:,}"
    assert cells["certified shards"] == "2 of 2"
    assert float(cells["KL error, largest"].split()[0]) == pytest.approx(expected["max_kl_error"], rel=0.05)


def test_the_results_are_those_of_the_report_and_complete(quick_run: Run) -> None:
    page = results.final_page(quick_run)
    main, others = ([dict(zip(t[0], row, strict=True)) for row in t[2:]] for t in tables(text_of(page)))
    assert [a | b for a, b in zip(main, others, strict=True)] == report.results_table(quick_run.load_summary())
    assert page and "base " in page.description and "ssb " in page.description
    words = "".join(t.content for t in tokens(text_of(page)) if t.type == "text")
    assert report.verdict_in_words(quick_run.load_summary()).split(" (at 80%")[0] in words


def test_pictures_are_small_files_and_wide_enough(quick_run: Run) -> None:
    pages = [selection.page(quick_run), training.page(quick_run), results.final_page(quick_run)]
    pictures = [picture for page in pages for picture in PICTURE.findall(text_of(page))]
    assert [name for name, _ in pictures] == ["yield", "training curves", "accuracy", "votes", "lengths"]
    for _, content in pictures:
        assert len(content) < 40_000
        assert Image.open(io.BytesIO(base64.b64decode(content))).width >= 1000


def test_the_report_has_a_link_where_its_folder_is_served_and_else_a_path(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SSB_RUNS_URL", "http://127.0.0.1:4201/")
    monkeypatch.setenv("SSB_HOME", str(quick_run.directory.parents[1]))
    assert "](http://127.0.0.1:4201/quick/report.html)" in text_of(report_page.page(quick_run))
    monkeypatch.setenv("SSB_HOME", str(tmp_path))  # the run is in another folder than the served one
    text = text_of(report_page.page(quick_run))
    assert "](http" not in text and f"`{quick_run.directory / 'report.html'}`" in text
    (rows,) = tables(text)
    assert [row[0] for row in rows[2:]] == ["rollouts", "select", "teach", "distill", "evaluate"]


def test_hostile_text_of_a_model_cannot_break_a_page(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    harmless = [[t.type for t in tokens(text_of(p))] for p in (selection.page(run), solution.page(run))]
    for stage in ("rollouts", "teach"):
        poison(run, stage, HOSTILE)
    for page, types in zip((selection.page(run), solution.page(run)), harmless, strict=True):
        assert [t.type for t in tokens(text_of(page))] == types
        blocks = fences(text_of(page))
        assert sum("<script>alert(1)</script>" in text for text in blocks) == len(blocks) - len(blocks) // 2
        assert not any("\x1b" in text or "\u202e" in text for text in blocks)
