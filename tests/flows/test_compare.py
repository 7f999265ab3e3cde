"""``ssb compare``: figures as JSON, tables that fit 100 columns, a page of flipped problems, and refusals."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli.compare import print_comparison
from ssb_core.records import Sample, Verdict
from ssb_core.report import compare_html
from ssb_core.report.tables import comparison_table
from ssb_core.report.verdict import comparison_in_words
from ssb_core.results.compare import Comparison, Flip, Side, compare, figures
from ssb_core.runs import Run
from tests.support.processes import run_ssb


@pytest.fixture
def comparison(quick_run: Run) -> Comparison:
    return compare(Side(quick_run, "base"), Side(quick_run, "ssb"))


def places(run: Run) -> list[str]:
    return ["--store", str(run.store.root), "--runs", str(run.directory.parent)]


def test_json_has_all_figures_and_the_page_is_written_only_with_out(
    quick_run: Run, comparison: Comparison, alone: dict[str, str], tmp_path: Path
) -> None:
    command = ["compare", "latest:base", "quick", "--json", *places(quick_run)]
    done = run_ssb(*command, env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(json.dumps(figures(comparison)))
    assert list(tmp_path.iterdir()) == [] and not list(quick_run.directory.glob("compare-*"))
    done = run_ssb(*command, "--out", "new/flips.html", env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "flips.html").read_text(encoding="utf-8") == compare_html.page(comparison)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none", "quick"], "there is no finished run 'none'"),
        (["quick", "quick"], "are the same model of the same run"),
        (["quick:base", "quick:grpo"], "give one of: base, ssb"),
        (["quick:base", "quick", "--out", "."], "--out . is a directory; give the name of an HTML file"),
    ],
)
def test_models_that_cannot_be_compared_are_refused(
    quick_run: Run, arguments: list[str], message: str, alone: dict[str, str], tmp_path: Path
) -> None:
    done = run_ssb("compare", *arguments, *places(quick_run), env=alone, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and message in done.stderr


def test_the_output_fits_100_columns_and_agrees_with_the_page(
    comparison: Comparison, terminal: io.StringIO, tmp_path: Path
) -> None:
    (compared,) = comparison.benchmarks
    page, many = tmp_path / "page.html", replace(compared, improved=compared.improved * 12)
    print_comparison(replace(comparison, benchmarks=(many,)), 10, as_json=False, out=page)
    text = terminal.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines() if str(page) not in line) <= 100
    words = " ".join(text.split())
    assert comparison_in_words(compared, comparison.first, comparison.second) in words
    for row in comparison_table(many, comparison.first, comparison.second):
        assert " ".join(" ".join(cell for name, cell in row.items() if name != "model").split()) in words
    flip = compared.improved[0]
    assert f"{flip.first.correct}/4 {flip.first.answer}" in words and flip.first.problem.id in words
    assert f"10 of {len(many.improved)} problems (--top {len(many.improved)} lists all)" in words
    assert f"page {page}" in words and page.exists()


def test_by_default_the_page_is_beside_the_report_of_the_second_run(comparison: Comparison) -> None:
    path = compare_html.default_path(comparison)
    assert path == comparison.second.run.directory / "compare-ssb-with-quick-base.html"


def test_hostile_text_of_a_model_cannot_control_the_terminal(
    comparison: Comparison, terminal: io.StringIO, tmp_path: Path
) -> None:
    (compared,) = comparison.benchmarks
    flip = compared.improved[0]
    hostile = Sample(
        problem_id="p",
        index=0,
        seed=0,
        prompt_hash="hash",
        completion_ids=(1,),
        text="text",
        finish_reason="stop",
        verdict=Verdict("incorrect", "\x1b[2J\u202e[red]" + "x" * 99),
    )
    first = replace(flip.first, samples=(hostile,))
    second = replace(flip.second, samples=(replace(hostile, verdict=Verdict("correct", r"\frac{1}{2}")),))
    flipped = replace(compared, improved=(Flip(first, second),), worsened=())
    print_comparison(replace(comparison, benchmarks=(flipped,)), 5, as_json=False, out=tmp_path / "page.html")
    text = terminal.getvalue()
    assert "\x1b" not in text and "\u202e" not in text
    assert r"wrong  \x1b[2J\u202e" in text and r"right  \frac{1}{2}" in text
