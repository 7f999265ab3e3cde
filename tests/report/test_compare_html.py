"""The page of a comparison."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from ssb_core.report import compare_html
from ssb_core.report.tables import comparison_table
from ssb_core.report.verdict import comparison_in_words
from ssb_core.results import compare
from ssb_core.results.compare import Flip, Side
from ssb_core.runs import Run
from tests.support.pages import Page
from tests.support.runs import HOSTILE, copied, poison
from tests.support.samples import problem_samples


def sides(run: Run) -> tuple[Side, Side]:
    return Side(run, "base"), Side(run, "ssb")


def test_a_change_of_one_or_several_samples_is_put_into_words() -> None:
    assert compare_html.change(Flip(problem_samples("-"), problem_samples("+"))) == "wrong to right"
    assert compare_html.change(Flip(problem_samples("+"), problem_samples("-"))) == "right to wrong"
    assert compare_html.change(Flip(problem_samples("--+"), problem_samples("++++"))) == "1 of 3 right, then 4 of 4"


def test_the_page_has_both_texts_of_every_flip_side_by_side_as_text(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    poison(run, "evaluate", HOSTILE)
    comparison = compare.compare(*sides(run))
    (benchmark,) = comparison.benchmarks
    html = compare_html.page(comparison)
    page, flips = Page(html), (*benchmark.improved, *benchmark.worsened)
    assert flips and page.text.count(HOSTILE) == len(flips) * (4 + 4)
    assert "<script" not in html and not any(n.startswith("on") for _, a in page.tags for n in a)
    assert sum(a.get("class") == "flip" for _, a in page.tags) == len(flips)
    words = "".join(page.text)
    assert all(f.first.problem.question in words and f.first.problem.id in words for f in flips)
    cells = comparison_table(benchmark, *sides(run))
    counts = len(benchmark.worsened), len(benchmark.improved)
    assert f"is worse on {counts[0]} problem" in words and f" better on {counts[1]} problem" in words
    places = [words.index(f"{kind} in quick:ssb: ") for kind in ("Worse", "Better")]
    assert places == sorted(places)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    links = [unquote(a["href"] or "")[1:] for tag, a in page.tags if tag == "a"]
    assert len(ids) == len(set(ids)) and set(links) <= set(ids)
    wanted = [f"problem:nano-test/{f.first.problem.id}" for f in flips]
    assert {"nano-test", "worse:nano-test", "better:nano-test", *wanted} == set(links)
    assert page.tables["paired-nano-test"] == [list(cells[0]), *(list(row.values()) for row in cells)]
    assert comparison_in_words(benchmark, *sides(run)) in words


def test_a_long_list_of_flips_continues_in_a_fold(quick_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = compare.compare(*sides(quick_run))
    whole = compare_html.page(comparison)
    monkeypatch.setattr(compare_html, "SHOWN", 0)
    folded = compare_html.page(comparison)
    assert folded.count('class="flip"') == whole.count('class="flip"')
    assert folded.count("<summary>1 more</summary>") == 2 and " more</summary>" not in whole
