"""The list of runs: what differs, in which order, and what is not finished."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ssb_core.config import presets
from ssb_core.results.run_list import ListedRun, as_json, configured, differing, list_runs
from ssb_core.runs import Run


@pytest.fixture
def folder(quick_run: Run, tmp_path: Path) -> Path:
    """Two finished runs, one without results, and one that another version made."""
    for name in ("quick", "warmer", "begun", "older"):
        shutil.copytree(quick_run.directory, tmp_path / name)
    warmer = tmp_path / "warmer" / "config.yaml"
    warmer.write_text(warmer.read_text().replace("temperature: 0.4", "temperature: 0.7"))
    (tmp_path / "begun" / "summary.json").unlink()
    older = json.loads((tmp_path / "older" / "summary.json").read_text())
    (tmp_path / "older" / "summary.json").write_text(json.dumps(older | {"format": 1}))
    return tmp_path


def test_finished_runs_have_results_and_others_their_state(folder: Path, quick_run: Run) -> None:
    runs = {run.name: run for run in list_runs(folder, quick_run.store)}
    assert runs.keys() == {"quick", "warmer", "begun", "older"}
    summary = quick_run.load_summary()
    scores = summary["benchmarks"]["nano-test"]["models"]
    assert runs["quick"].accuracy == {"nano-test": {m: scores[m]["accuracy"] for m in ("base", "ssb")}}
    assert runs["quick"].traces == 24 and not runs["quick"].evaluation
    assert (runs["begun"].accuracy, runs["begun"].fields, runs["begun"].seconds) == ({}, {}, None)
    assert runs["begun"].state != "finished" and runs["older"].detail == "made by another version of ssb"


def test_only_the_fields_that_differ_are_named_in_the_users_words(folder: Path, quick_run: Run) -> None:
    runs = list_runs(folder, quick_run.store)
    assert differing(runs) == ["teach.temperature"]
    rows = {row["name"]: row for row in as_json(runs)}
    assert rows["warmer"]["differs"] == {"teach.temperature": 0.7} and rows["begun"]["differs"] == {}
    json.dumps(list(rows.values()), allow_nan=False)


def test_decoding_is_compared_as_it_was_used_and_not_where_it_is_written() -> None:
    here = presets.load_config("quickstart", overrides=["evaluate.samples=2", "execution.batch_size=1"])
    own = "evaluate.benchmarks=[{name: nano-test, source: nano-test, samples: 2}]"
    there = presets.load_config("quickstart", overrides=[own, "evaluate.samples=9"])
    fields = [configured(config, {}) for config in (here, there)]
    assert [f["evaluate.samples"] for f in fields] == [2, 2]
    both = [ListedRun(str(i), "finished", 0, "", fields=f) for i, f in enumerate(fields)]
    assert differing(both) == []
    mixed = configured(presets.load_config("paper", overrides=["evaluate.benchmarks.0.samples=1"]), {"directory": "/a"})
    assert mixed["adapter"] == "/a" and mixed["evaluate.benchmarks.aime2024.split"] == "train"


def test_runs_are_sorted_by_accuracy_time_and_name(folder: Path, quick_run: Run) -> None:
    names = [run.name for run in list_runs(folder, quick_run.store, "name")]
    assert names == sorted(names)
    by_time = list_runs(folder, quick_run.store)
    assert {run.name for run in by_time[:2]} == {"quick", "warmer"}
    better = replace(by_time[0], accuracy={"a": {"base": 0.9, "ssb": 0.5}})
    assert better.best == 0.5 and replace(better, accuracy={"a": {"adapter": 0.7}}).best == 0.7
    assert by_time[-1].best == -1
