"""summary.json: string match, and the format that other versions refuse."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssb_core import problems
from ssb_core.errors import ConfigError
from ssb_core.results import queries
from ssb_core.runs import Run


def test_string_match_counts_answers_written_as_the_reference_is(quick_run: Run) -> None:
    bench = quick_run.load_summary()["benchmarks"]["nano-test"]
    gold = {p.id: p.answer for p in problems.load_problems(queries.load_config(quick_run).evaluate.benchmarks[0])}
    for evaluation in queries.load_evaluations(quick_run):
        tables = quick_run.store.tables(evaluation.manifest, ["problem_id", "verdict"])
        rows = [row for table in tables for row in table.to_pylist()]
        matches = [row["verdict"]["answer"] == gold[row["problem_id"]] for row in rows]
        assert bench["models"][evaluation.model]["string_match"] == pytest.approx(sum(matches) / len(matches))
    models, literal = bench["models"], bench["paired"]["ssb-base"]["string_match"]
    gap = models["ssb"]["string_match"] - models["base"]["string_match"]
    assert literal["difference"] == pytest.approx(gap)


def test_a_run_of_another_version_is_refused_by_name(quick_run: Run, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    (old / "summary.json").write_text(json.dumps({k: v for k, v in quick_run.load_summary().items() if k != "format"}))
    with pytest.raises(ConfigError, match="run old was made by another version of ssb"):
        Run.named(tmp_path, "latest", quick_run.store)
