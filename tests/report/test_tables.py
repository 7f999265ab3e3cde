"""Result tables: their cells are the summary's numbers, in HTML and in the terminal too."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from ssb_core import report
from ssb_core.report.tables import breakdown, results_table
from ssb_core.report.verdict import verdict_in_words
from ssb_core.runs import Run
from tests.support.pages import Page
from tests.support.summaries import benchmark_summary


@pytest.fixture(scope="module")
def html(quick_run: Run) -> str:
    return report.page(quick_run)


def test_html_table_and_summary_show_the_same_numbers(quick_run: Run) -> None:
    path = report.write(quick_run)
    assert path == quick_run.directory / "report.html"
    page, summary = Page(path.read_text(encoding="utf-8")), quick_run.load_summary()
    rows = results_table(summary)
    assert page.tables["results"] == [list(rows[0]), *(list(row.values()) for row in rows)]
    for row in rows:
        score = summary["benchmarks"][row["benchmark"].removesuffix(" (partial)")]["models"][row["model"]]
        assert float(row["accuracy"].rstrip("%")) == pytest.approx(100 * score["accuracy"], abs=0.0501)
        low, high = map(float, row["95% interval"].split(" to "))
        assert (low, high) == pytest.approx([100 * x for x in score["ci95"]], abs=0.0501)
        assert float(row["tokens"].replace(",", "")) == pytest.approx(score["mean_tokens"], abs=0.501)
        assert float(row["maj@k"].rstrip("%")) == pytest.approx(100 * score["maj_at_k"], abs=0.0501)
        assert float(row["pass@k"].rstrip("%")) == pytest.approx(100 * score["pass_at_k"]["4"], abs=0.0501)
    paired = summary["benchmarks"]["nano-test"]["paired"]["ssb-base"]
    numbers = [float(x) for x in re.findall(r"[+-]\d+\.\d+", rows[1]["vs base"])]
    assert numbers == pytest.approx([100 * paired["difference"], *(100 * x for x in paired["ci95"])], abs=0.0501)
    assert verdict_in_words(summary) in "".join(page.text)


def test_cells_are_formatted_for_reading() -> None:
    rows = results_table(benchmark_summary(0.123, (0.05, 0.2), 0.00004))
    assert [r["model"] for r in rows] == ["base", "ssb"]
    assert rows[1] == {
        "benchmark": "math500",
        "model": "ssb",
        "accuracy": "42.3%",
        "95% interval": "20.0 to 40.0",
        "string match": "25.0%",
        "no answer": "1.2%",
        "truncated": "0.0%",
        "tokens": "1,234",
        "vs base": "+12.3 (+5.0 to +20.0), p < 0.001",
    }
    assert rows[0]["vs base"] == ""


def test_majority_vote_and_pass_at_k_need_several_samples_per_problem() -> None:
    summary = benchmark_summary(0.1, (0.04, 0.16))
    assert not {"maj@k", "pass@k", "seeds"} & set(results_table(summary)[0])
    other = benchmark_summary(0.1, (0.04, 0.16))["benchmarks"]["math500"] | {"samples": 4}
    for score in other["models"].values():
        score |= {"pass_at_k": {"1": 0.3, "2": 0.4, "4": 0.5}, "maj_at_k": 0.35}
    summary["benchmarks"]["aime2024"] = other
    rows = results_table(summary)
    assert [(r["maj@k"], r["pass@k"]) for r in rows] == [("", "")] * 2 + [("35.0%", "50.0%")] * 2


def test_accuracy_by_level_in_the_html_is_that_of_the_summary(quick_run: Run, html: str) -> None:
    benchmark = quick_run.load_summary()["benchmarks"]["nano-test"]
    tables = Page(html).tables
    (title,) = breakdown(quick_run.load_summary())
    assert title == "nano-test (partial: 48 of 512 problems) by level"
    heading, *rows = tables[title.replace(" ", "-")]
    assert heading == ["level", "problems", "base", "ssb"]
    assert [row[0] for row in rows] == list(benchmark["models"]["base"]["by_level"]) == ["1", "2", "3"]
    for level, n, *cells in rows:
        for model, cell in zip(("base", "ssb"), cells, strict=True):
            group = benchmark["models"][model]["by_level"][level]
            numbers = [float(x) for x in re.findall(r"[\d.]+", cell)]
            assert numbers == pytest.approx([100 * x for x in (group["accuracy"], *group["ci95"])], abs=0.0501)
            assert int(n) == group["n"]


@pytest.mark.parametrize(
    ("width", "left_out"),
    [
        (80, {"vs base", "string match", "pass@k", "truncated", "no answer"}),
        (100, {"vs base", "string match", "pass@k"}),
        (180, set()),
    ],
)
def test_the_terminal_shows_the_same_cells_in_the_columns_that_fit(
    quick_run: Run, monkeypatch: pytest.MonkeyPatch, width: int, left_out: set[str]
) -> None:
    from flows.cli import console

    narrow = Console(width=width, file=io.StringIO(), markup=False, highlight=False)
    monkeypatch.setattr(console, "console", narrow)
    rows = results_table(quick_run.load_summary())
    narrow.print(console.results_table(rows))
    printed = narrow.file.getvalue()  # type: ignore[attr-defined]
    heading, _, *lines = [line for line in printed.splitlines() if line.strip()]
    columns = [name for name in rows[0] if name not in left_out]
    assert [cell for cell in rows[0] if cell in heading] == columns
    assert [re.split(r"\s{2,}", line.strip()) for line in lines] == [[r[n] for n in columns if r[n]] for r in rows]
