"""The flow under a real Prefect server: results, artifacts, caching, damage, and the commands that read a run."""

from __future__ import annotations

import json
import re
import shlex
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ssb_core.runs import Run
from tests.support import run_files
from tests.support.processes import api, quickstart, run_ssb
from tests.support.served import tasks, until
from tests.support.settings import SMALL

PAGES = [
    f"ssb-{part}"
    for part in "0-plan 1-rollouts 2-selection 3-solution 4-signal 5-training 6-results 7-report "
    "leaderboard-quickstart".split()
]  # fmt: skip
DAMAGES = (b"", b"{", b"\x00" * 64, b"{}", b'{"metadata": {}, "result": "x"}', None)
COMMAND = quickstart("run", SMALL)


def summary(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "runs").glob("*/summary.json")
    return dict(json.loads(path.read_text()))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, served: dict[str, str]) -> Path:
    """A folder in which a user has run the small pipeline once."""
    home = tmp_path_factory.mktemp("user")
    done = run_ssb(*COMMAND, env=served, cwd=home)
    assert done.returncode == 0, done.stderr
    assert "nano-test" in done.stdout and "report.html" in done.stdout
    (run,) = (home / "runs").iterdir()
    first, *others = done.stderr.splitlines()
    assert first == f"run {run.name}: model nano, device cpu, engine transformers, store store"
    phases = [line.split(":")[0] for line in others if "done in" in line]
    assert phases[:4] == ["rollouts wave 1", "select wave 1", "teach wave 1", "capture wave 1"]
    assert not re.search(r"\d%\|", done.stderr)  # a bar of tqdm
    return home


def test_the_flow_gives_the_same_results_as_the_library(folder: Path, quick_run: Run) -> None:
    result = summary(folder)
    for key in ("fingerprints", "yield", "signal", "benchmarks"):
        assert result[key] == quick_run.load_summary()[key]
    assert {s["status"] for s in result["stages"].values()} == {"ran"}


def test_the_summary_has_the_promised_names(folder: Path) -> None:
    result = summary(folder)
    assert set(result) == {
        "format", "run", "preset", "fingerprints", "stages", "yield", "signal", "training", "rounds", "costs",
        "benchmarks", "engines", "seconds", "making", "versions",
    }  # fmt: skip
    assert set(result["yield"]) == {
        "problems", "all_correct", "all_wrong", "mixed", "taught", "unparsed", "unverified", "too_long", "truncated",
        "bad_gold",
    }  # fmt: skip
    assert set(result["signal"]) == {"codec", "tokens", "bytes_per_token", "max_kl_error"}
    assert set(result["training"]) == {"steps", "first_loss", "last_loss", "tokens_per_second"}
    assert set(result["stages"]["teach"]) == {
        "status", "seconds", "making_seconds", "shards", "shards_reused", "rows", "tokens",
    }  # fmt: skip
    assert set(result["making"]) == {"seconds", "tokens"}
    bench = result["benchmarks"]["nano-test"]
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


def test_every_page_is_published_and_the_plan_has_links_to_the_others(folder: Path, served: dict[str, str]) -> None:
    published = [a for a in api(served, "/artifacts/filter") if a["key"] and "progress" not in a["key"]]
    run = {a["flow_run_id"] for a in published if a["key"] == "ssb-7-report" and str(folder) in a["data"]}
    artifacts = {a["key"]: a for a in published if a["flow_run_id"] in run}
    assert sorted(artifacts) == PAGES
    rows = json.loads(artifacts["ssb-leaderboard-quickstart"]["data"])
    assert [row["model"] for row in rows] == ["base", "ssb"]
    contents = artifacts["ssb-0-plan"]["data"]
    assert all(f"](./{a['id']})" in contents for key, a in artifacts.items() if key != "ssb-0-plan")


def test_without_a_server_all_is_cached_and_every_page_is_published(
    folder: Path, alone: dict[str, str], tmp_path: Path
) -> None:
    before = summary(folder)
    done = run_ssb(*COMMAND, env=alone | {"PREFECT_HOME": str(tmp_path)}, cwd=folder)
    assert done.returncode == 0, done.stderr
    after = summary(folder)
    assert {s["status"] for s in after["stages"].values()} == {"cached"}
    for key in ("fingerprints", "yield", "signal", "training", "rounds", "costs", "benchmarks"):
        assert after[key] == before[key]
    with closing(sqlite3.connect(tmp_path / "prefect.db")) as database:
        keys = [key for (key,) in database.execute("SELECT key FROM artifact WHERE key LIKE 'ssb-%'")]
    assert sorted(keys) == PAGES


def test_damaged_files_of_prefect_and_of_the_run_cost_no_stage(folder: Path, served: dict[str, str]) -> None:
    seen, results = run_files.finished_files(folder), run_files.run_results(folder)
    stored = sorted((folder / "store" / "results").iterdir())
    assert len(stored) == len(DAMAGES)
    for path, damage in zip(stored, DAMAGES, strict=True):
        path.unlink() if damage is None else path.write_bytes(damage)
    (run,) = (folder / "runs").iterdir()
    for name in ("config.yaml", "env.json", "stages.json", "summary.json"):
        (run / name).write_bytes((run / name).read_bytes()[:20])
    again = run_ssb(*COMMAND, env=served, cwd=folder)
    assert again.returncode == 0, again.stderr
    assert run_files.finished_files(folder) == seen and run_files.run_results(folder) == results
    assert {s["status"] for s in summary(folder)["stages"].values()} == {"cached"}


def test_a_damaged_shard_is_made_again_and_the_stages_after_it_stay_cached(
    folder: Path, served: dict[str, str]
) -> None:
    before = summary(folder)
    damaged = sorted(folder.glob("store/rollouts/*/shards/*.parquet"))[0]
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-50] + bytes([whole[-50] ^ 1]) + whole[-49:])
    done = run_ssb(*COMMAND, "--force", "select", env=served, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert f"{damaged.name} was damaged (its checksum differs): set aside, and made again now" in done.stderr
    assert damaged.read_bytes() == whole and damaged.with_name(damaged.name + ".damaged").exists()
    after = summary(folder)
    assert {k: v["status"] for k, v in after["stages"].items()} == {
        "rollouts": "resumed", "select": "ran", "teach": "cached", "distill": "cached", "evaluate": "cached",
    }  # fmt: skip
    assert after["benchmarks"] == before["benchmarks"]
    (latest,) = api(served, "/flow_runs/filter", sort="START_TIME_DESC", limit=1)

    def states() -> Counter[tuple[str, str]]:
        return Counter((t["name"].split()[0], t["state"]["name"]) for t in tasks(served, latest["id"]))

    expected = {
        ("rollouts", "Cached"): 1, ("select", "Failed"): 1, ("rollouts", "Completed"): 1, ("select", "Completed"): 1,
        ("teach", "Cached"): 1, ("distill", "Cached"): 1, ("evaluate", "Cached"): 2,
    }  # fmt: skip
    until(lambda: states() == expected, 60, lambda: str(states()))


def test_the_next_step_of_a_run_shows_a_problem_that_was_taught(folder: Path, alone: dict[str, str]) -> None:
    command = run_ssb("report", env=alone, cwd=folder).stdout.partition("\nnext ")[2].partition("   (")[0]
    done = run_ssb(*shlex.split(command)[1:], env=alone, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "\\boxed{" in done.stdout and "taught" in done.stdout.lower()
    unknown = run_ssb("show", "nano-train-9999", env=alone, cwd=folder)
    assert unknown.returncode == 2 and "nano-train-" in unknown.stderr


def test_report_writes_the_report_again(folder: Path, alone: dict[str, str]) -> None:
    (page,) = (folder / "runs").glob("*/report.html")
    page.unlink()
    done = run_ssb("report", env=alone, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert page.read_text().startswith("<!doctype html>")
