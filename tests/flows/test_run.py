"""The flow under a real Prefect server: cached by fingerprint, artifacts in the API, forced and partial runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from ssb_core.runs import Run
from tests.conftest import SMALL
from tests.processes import api, run_ssb

COMMAND = ["run", "--preset", "quickstart", *(a for s in SMALL for a in ("--set", s))]


def summary(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "runs").glob("*/summary.json")
    return dict(json.loads(path.read_text()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, served: dict[str, str]) -> Path:
    """Where a user has run the small pipeline once."""
    home = tmp_path_factory.mktemp("user")
    done = run_ssb(*COMMAND, env=served, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "nano-test" in done.stdout and "report.html" in done.stdout
    return home


def test_the_flow_gives_what_the_library_gives(folder: Path, quick_run: Run) -> None:
    found = summary(folder)
    for key in ("fingerprints", "yield", "signal", "benchmarks"):
        assert found[key] == quick_run.summary[key]
    assert {s["status"] for s in found["stages"].values()} == {"ran"}


def test_the_summary_has_the_promised_names(folder: Path) -> None:
    found = summary(folder)
    assert set(found) == {
        "format", "run", "preset", "fingerprints", "stages", "yield", "signal", "training", "rounds", "costs",
        "benchmarks", "engines", "seconds", "versions",
    }  # fmt: skip
    assert set(found["yield"]) == {
        "problems", "all_correct", "all_wrong", "mixed", "taught", "unparsed", "unverified", "too_long", "truncated",
        "bad_gold",
    }  # fmt: skip
    assert set(found["signal"]) == {"codec", "tokens", "bytes_per_token", "max_kl_error"}
    assert set(found["training"]) == {"steps", "first_loss", "last_loss", "tokens_per_second"}
    assert set(found["stages"]["teach"]) == {"status", "seconds", "shards", "shards_reused", "rows", "tokens"}
    bench = found["benchmarks"]["nano-test"]
    assert set(bench) == {
        "n", "samples", "bad_gold", "models", "paired", "partial", "of", "content", "source", "subset", "split", "form",
        "answer_form", "prompt", "prompt_digest", "decoding", "overlap",
    }  # fmt: skip
    assert set(bench["models"]) == {"base", "ssb"} and set(bench["paired"]) == {"ssb-base"}
    assert set(bench["models"]["ssb"]) == {
        "accuracy", "ci95", "standard_error", "pass_at_k", "maj_at_k", "vote_calibration", "string_match", "no_answer",
        "unverified", "timeouts", "truncated", "mean_tokens", "p95_tokens", "by_level", "by_subject",
    }  # fmt: skip
    paired = bench["paired"]["ssb-base"]
    tested = {"difference", "ci95", "p_value", "wins", "losses", "standard_error", "minimum_detectable_effect"}
    assert set(paired) == {*tested, "string_match"} and set(paired["string_match"]) == tested


def test_the_run_is_told_in_artifacts(folder: Path, served: dict[str, str]) -> None:
    published = [a for a in api(served, "/artifacts/filter") if a["key"] and "progress" not in a["key"]]
    run = {a["flow_run_id"] for a in published if a["key"] == "ssb-7-report" and str(folder) in a["data"]}
    artifacts = {a["key"]: a for a in published if a["flow_run_id"] in run}
    story = "0-plan 1-rollouts 2-selection 3-solution 4-signal 5-training 6-results 7-report leaderboard-quickstart"
    assert sorted(artifacts) == [f"ssb-{part}" for part in story.split()]
    rows = json.loads(artifacts["ssb-leaderboard-quickstart"]["data"])
    assert [row["model"] for row in rows] == ["base", "ssb"]
    contents = artifacts["ssb-0-plan"]["data"]
    assert all(f"](./{a['id']})" in contents for key, a in artifacts.items() if key != "ssb-0-plan")


def test_without_a_server_the_same_command_is_all_cached_and_quick(folder: Path, alone: dict[str, str]) -> None:
    before = summary(folder)
    assert run_ssb(*COMMAND, env=alone, cwd=folder).returncode == 0  # Prefect makes its database once
    started = time.monotonic()
    done = run_ssb(*COMMAND, env=alone, cwd=folder)
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    after = summary(folder)
    assert {s["status"] for s in after["stages"].values()} == {"cached"}
    for key in ("fingerprints", "yield", "signal", "training", "rounds", "costs", "benchmarks"):
        assert after[key] == before[key]
    assert seconds < 25


def test_prefect_itself_says_cached(folder: Path, served: dict[str, str]) -> None:
    done = run_ssb(*COMMAND, env=served, cwd=folder)
    assert done.returncode == 0, done.stderr
    (latest,) = api(served, "/flow_runs/filter", sort="START_TIME_DESC", limit=1)
    tasks = api(served, "/task_runs/filter", flow_runs={"id": {"any_": [latest["id"]]}})
    assert len(tasks) == 6
    assert {t["state"]["name"] for t in tasks} == {"Cached"}


def test_a_forced_stage_runs_again_and_the_others_do_not(folder: Path, served: dict[str, str]) -> None:
    before = summary(folder)
    done = run_ssb(*COMMAND, "--force", "select", env=served, cwd=folder)
    assert done.returncode == 0, done.stderr
    after = summary(folder)
    assert {k: v["status"] for k, v in after["stages"].items()} == {
        "rollouts": "cached", "select": "ran", "teach": "cached", "distill": "cached", "evaluate": "cached",
    }  # fmt: skip
    assert after["benchmarks"] == before["benchmarks"]


def test_damage_that_turns_up_on_the_way_is_mended_by_the_same_command(folder: Path, served: dict[str, str]) -> None:
    before = summary(folder)
    damaged = sorted(folder.glob("store/rollouts/*/shards/*.parquet"))[0]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:])
    done = run_ssb(*COMMAND, "--force", "select", env=served, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"{damaged.name} was damaged (its checksum is another): set aside, and made again now" in done.stderr
    assert damaged.read_bytes() == whole and damaged.with_name(damaged.name + ".damaged").exists()
    after = summary(folder)
    assert {k: v["status"] for k, v in after["stages"].items()} == {
        "rollouts": "resumed", "select": "ran", "teach": "cached", "distill": "cached", "evaluate": "cached",
    }  # fmt: skip
    assert after["benchmarks"] == before["benchmarks"]


def test_one_problems_story_is_told(folder: Path, alone: dict[str, str]) -> None:
    done = run_ssb("show", "nano-train-0000", env=alone, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "\\boxed{" in done.stdout
    unknown = run_ssb("show", "nano-train-9999", env=alone, cwd=folder)
    assert unknown.returncode == 2 and "nano-train-" in unknown.stderr


def test_the_report_is_made_anew(folder: Path, alone: dict[str, str]) -> None:
    (page,) = (folder / "runs").glob("*/report.html")
    page.unlink()
    done = run_ssb("report", env=alone, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert page.read_text().startswith("<!doctype html>")
