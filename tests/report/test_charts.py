"""Charts: legible PNGs and harmless SVGs of the summary's numbers, without those that have no data."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from ssb_core import report
from ssb_core.report import charts
from ssb_core.report.charts import canvas, training
from ssb_core.report.render import TEMPLATES
from ssb_core.report.tables import results_table
from ssb_core.results import queries
from ssb_core.runs import Run
from ssb_core.store import write_json
from tests.support.runs import HOSTILE, copied

STYLE = (TEMPLATES / "style.css.j2").read_text()


@pytest.fixture(scope="module")
def drawn(quick_run: Run) -> dict[str, charts.Chart]:
    return report.draw_charts(quick_run)


def test_charts_are_pngs_wide_enough_to_read(drawn: dict[str, charts.Chart]) -> None:
    assert list(drawn) == ["accuracy", "training", "yield", "lengths", "votes"]
    for chart in drawn.values():
        png = charts.png(chart)
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(png[16:20], "big") >= 1000  # the header's width


def test_a_chart_in_a_page_has_texts_its_own_ids_and_the_pages_colours(quick_run: Run) -> None:
    elements, ids = set(), []
    for name, chart in report.draw_charts(quick_run).items():
        drawing = charts.svg(chart, name)
        again = charts.svg(report.draw_charts(quick_run, [name])[name], name)
        assert drawing == again
        tree = ElementTree.fromstring(drawing)
        elements |= {e.tag for e in tree.iter()}
        ids += (own := [e.attrib["id"] for e in tree.iter() if "id" in e.attrib])
        referred = {r for e in tree.iter() for v in e.attrib.values() for r in re.findall(r"#([\w-]+)", v)}
        assert referred and referred <= set(own)  # no colour either: those are variables
        assert set(re.findall(r"var\((--[\w-]+)\)", drawing)) <= set(re.findall(r"(--[\w-]+):", STYLE))
        assert not any("translate" in e.get("transform", "") for e in tree.iter("text"))  # lines of one text
        assert not {"class", "onload", "font-family"} & {k for e in tree.iter() for k in e.attrib}
    assert elements == {"svg", "g", "path", "text", "use", "defs", "clipPath", "rect"}
    assert len(ids) == len(set(ids))


def test_a_text_in_a_chart_stays_text() -> None:
    figure = canvas.blank(1)
    canvas.axes_of(figure, ylabel=HOSTILE)
    tree = ElementTree.fromstring(charts.svg(charts.Chart("", HOSTILE, figure), "x"))
    assert HOSTILE in [e.text for e in tree.iter("text")] and tree.get("aria-label") == HOSTILE
    assert {e.tag for e in tree.iter()}.isdisjoint({"script", "img"})


def test_the_numbers_of_a_chart_are_those_it_draws(quick_run: Run, drawn: dict[str, charts.Chart]) -> None:
    (benchmark,) = quick_run.load_summary()["benchmarks"].values()
    scores = [benchmark["models"][m] for m in ("base", "ssb")]
    assert [list(row.values()) for row in drawn["accuracy"].rows] == [
        ["nano-test", m, *(f"{100 * x:.1f}" for x in (s["accuracy"], *s["ci95"]))]
        for m, s in zip(("base", "ssb"), scores, strict=True)
    ]
    log = queries.load_training_log(quick_run)
    assert [row["loss"] for row in drawn["training"].rows] == [f"{row['loss']:.5f}" for row in log]
    for model in ("base", "ssb"):
        shares = [float(row[f"{model} %"]) for row in drawn["lengths"].rows]
        assert sum(shares) == pytest.approx(100, abs=0.05 * len(shares))
        answers = [row for row in drawn["votes"].rows if row["model"] == model]
        votes = benchmark["models"][model]["vote_calibration"]
        assert [(int(r["answers"]), r["right %"]) for r in answers] == [
            (v["n"], f"{100 * v['accuracy']:.1f}") for v in votes
        ]


def test_a_long_training_log_is_a_table_of_at_most_two_hundred_steps_and_what_was_held_out() -> None:
    log = [{"step": i, "loss": 1 / i, "grad_norm": 1.0} for i in range(1, 1002)]
    log[6]["held_out_loss"] = 0.5
    rows = training._rows(log)
    assert len(rows) <= 202 and rows[-1]["step"] == "1,001"
    assert [(r["step"], r["held out"]) for r in rows if r["held out"]] == [("7", "0.50000")]


def test_smoothing_averages_over_shrinking_windows() -> None:
    values = [float(i % 2) for i in range(20)]  # a window of three
    smoothed = canvas.smooth(values)
    assert smoothed[:3].tolist() == pytest.approx([1 / 2, 1 / 3, 2 / 3])
    assert smoothed[-1] == pytest.approx(1 / 2)
    assert canvas.smooth([3.0]).tolist() == [3.0]


def test_models_that_never_answer_have_no_chart_of_votes(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    summary = run.load_summary()
    for model, left in (("base", ["ssb"]), ("ssb", [])):
        summary["benchmarks"]["nano-test"]["models"][model]["vote_calibration"] = []
        write_json(run.directory / "summary.json", summary)
        assert ("votes" in report.draw_charts(run)) == bool(left)


def test_more_than_two_models_get_their_own_bars_and_rows(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    summary = run.load_summary()
    result = summary["benchmarks"]["nano-test"]
    result["models"]["grpo"] = result["models"]["ssb"]
    result["paired"]["grpo-base"] = result["paired"]["ssb-base"]
    write_json(run.directory / "summary.json", summary)
    assert [r["model"] for r in results_table(run.load_summary())] == ["base", "ssb", "grpo"]
    chart = charts.draw_accuracy(run.load_summary()["benchmarks"])
    assert chart is not None
    heights = [bar.get_height() for bar in chart.figure.axes[0].patches]  # type: ignore[attr-defined]
    models = run.load_summary()["benchmarks"]["nano-test"]["models"]
    assert heights == pytest.approx([100 * models[m]["accuracy"] for m in ("base", "grpo", "ssb")])
    assert json.loads((run.directory / "summary.json").read_text()) == run.load_summary()
