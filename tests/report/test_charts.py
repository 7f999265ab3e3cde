"""Charts: legible PNGs of the summary's numbers, without those that have no data."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssb_core import report
from ssb_core.report import charts
from ssb_core.report.charts import canvas
from ssb_core.report.tables import results_table
from ssb_core.runs import Run
from ssb_core.store import write_json
from tests.support.runs import copied


def test_charts_are_pngs_wide_enough_to_read(quick_run: Run) -> None:
    images = report.draw_charts(quick_run)
    assert list(images) == ["accuracy", "training", "yield", "lengths", "votes"]
    for png in images.values():
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        assert int.from_bytes(png[16:20], "big") >= 1000  # the header's width


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
    figure = charts.draw_accuracy(run.load_summary()["benchmarks"])
    assert figure is not None
    heights = [bar.get_height() for bar in figure.axes[0].patches]  # type: ignore[attr-defined]
    models = run.load_summary()["benchmarks"]["nano-test"]["models"]
    assert heights == pytest.approx([100 * models[m]["accuracy"] for m in ("base", "grpo", "ssb")])
    assert json.loads((run.directory / "summary.json").read_text()) == run.load_summary()
