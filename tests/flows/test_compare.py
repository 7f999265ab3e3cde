"""`ssb compare`: figures as JSON, a table that fits 100 columns, a page where it says, and refusals."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli import compare as compare_command
from flows.cli import console
from ssb_core.records import Sample, Verdict
from ssb_core.report import compare_html
from ssb_core.results import compare
from ssb_core.results.compare import Comparison, Side
from ssb_core.runs import Run
from tests.support.processes import run_ssb


@pytest.fixture
def comparison(quick_run: Run) -> Comparison:
    return compare.compare(Side(quick_run, "base"), Side(quick_run, "ssb"))


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> Console:
    """A terminal of 100 columns that what is printed goes to."""
    made = Console(width=100, file=io.StringIO(), markup=False, highlight=False)
    monkeypatch.setattr(console, "console", made)
    return made


def shown(narrow: Console) -> str:
    return str(narrow.file.getvalue())  # type: ignore[attr-defined]


def places(run: Run) -> list[str]:
    return ["--store", str(run.store.root), "--runs", str(run.directory.parent)]


def test_all_figures_as_json_and_a_page_only_where_asked(
    quick_run: Run, comparison: Comparison, alone: dict[str, str], tmp_path: Path
) -> None:
    command = ["compare", "latest:base", "quick", "--json", *places(quick_run)]
    done = run_ssb(*command, env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == json.loads(json.dumps(compare.figures(comparison)))
    assert list(tmp_path.iterdir()) == [] and not list(quick_run.directory.glob("compare-*"))
    done = run_ssb(*command, "--out", "new/flips.html", env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "new" / "flips.html").read_text(encoding="utf-8") == compare_html.page(comparison)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none", "quick"], "there is no finished run 'none'"),
        (["quick", "quick"], "are the same model of the same run"),
        (["quick:base", "quick:grpo"], "give one of: base, ssb"),
        (["quick:base", "quick", "--out", "."], "--out . is a directory; give the name of an HTML file"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    quick_run: Run, arguments: list[str], said: str, alone: dict[str, str], tmp_path: Path
) -> None:
    done = run_ssb("compare", *arguments, *places(quick_run), env=alone, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr


def test_what_is_shown_fits_100_columns_and_says_what_the_page_says(
    comparison: Comparison, narrow: Console, tmp_path: Path
) -> None:
    (found,) = comparison.benchmarks
    page, many = tmp_path / "page.html", replace(found, improved=found.improved * 12)
    compare_command.print_comparison(replace(comparison, benchmarks=(many,)), 10, as_json=False, out=page)
    text = shown(narrow)
    assert max(len(line.rstrip()) for line in text.splitlines() if str(page) not in line) <= 100
    words = " ".join(text.split())
    assert compare_html.in_words(found, comparison.first, comparison.second) in words
    for row in compare_html.rows(many, comparison.first, comparison.second):
        assert " ".join(" ".join(cell for name, cell in row.items() if name != "model").split()) in words
    flip = found.improved[0]
    assert f"{flip.first.correct}/4 {flip.first.answer}" in words and flip.first.problem.id in words
    assert f"10 of {len(many.improved)} problems (--top {len(many.improved)} lists all)" in words
    assert f"page {page}" in words and page.exists()


def test_by_default_the_page_lies_beside_the_second_runs_report(comparison: Comparison) -> None:
    place = compare_html.place(comparison)
    assert place == comparison.second.run.directory / "compare-ssb-with-quick-base.html"


def test_what_models_wrote_steers_no_terminal(comparison: Comparison, narrow: Console, tmp_path: Path) -> None:
    (found,) = comparison.benchmarks
    flip = found.improved[0]
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
    told = replace(found, improved=(compare.Flip(first, second),), worsened=())
    compare_command.print_comparison(
        replace(comparison, benchmarks=(told,)), 5, as_json=False, out=tmp_path / "page.html"
    )
    text = shown(narrow)
    assert "\x1b" not in text and "\u202e" not in text
    assert r"wrong  \x1b[2J\u202e" in text and r"right  \frac{1}{2}" in text
