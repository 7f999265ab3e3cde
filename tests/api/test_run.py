"""The pipeline as a library: what is checked, reused, forced and repaired."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import ssb_core
from ssb_core.api.run import Span, run_here, run_pipeline
from ssb_core.config import RunConfig
from ssb_core.config.execution import Workers
from ssb_core.errors import ConfigError, Damaged
from ssb_core.progress import Progress
from ssb_core.records import Rollout
from ssb_core.runs import Run, StageRun
from ssb_core.runs.pipeline import Pipeline, Step
from ssb_core.stages import rollouts
from ssb_core.store import Manifest, Store
from tests.support.listeners import Recorded
from tests.support.problem_files import write_problems
from tests.support.runs import copied
from tests.support.settings import SMALL


def statuses(run: Run) -> dict[str, str]:
    return {s.stage: s.status for s in run.load_stages()}


def test_a_cached_run_checks_each_manifest_once(
    small: RunConfig, quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: Counter[tuple[str, str]] = Counter()
    check = Store._check_manifest

    def counting(self: Store, folder: Any, fingerprint: str) -> Manifest | None:
        checks[folder.path.parent.name, fingerprint] += 1
        return check(self, folder, fingerprint)

    monkeypatch.setattr(Store, "_check_manifest", counting)
    again = ssb_core.run(small, quick_run.store, tmp_path / "again", progress=Progress())
    assert set(statuses(again).values()) == {"cached"}
    solutions = [key for key in checks if key[0] == "teach"]
    assert len(checks) == len(again.load_stages()) + len(solutions) // 2, "each request, and the solutions of each wave"
    assert set(checks.values()) == {1}
    ssb_core.run(small, quick_run.store, tmp_path / "again", progress=Progress())
    assert set(checks.values()) == {2}, "the next run looks anew"


def test_forcing_select_makes_select_alone_again(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    run, progress = copied(quick_run, tmp_path), Recorded()
    (before,) = run.manifests("select")
    files = {p: p.stat().st_mtime_ns for p in run.store.root.glob("select/*/shards/*.parquet")}
    again = ssb_core.run(small, run.store, run.directory, force=["select"], progress=progress)
    assert {s for s, status in statuses(again).items() if status != "cached"} == {"select"}
    assert statuses(again)["select"] == "ran" and again.manifests("select") == [before]
    assert all(p.stat().st_mtime_ns > t for p, t in files.items()) and files
    assert [line for line in progress.notes if line.startswith("select")] == []
    assert "rollouts wave 1: cached" in progress.notes


def test_starting_at_a_stage_needs_those_before_it(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    for start in ("select", "evaluate"):
        with pytest.raises(ConfigError, match=rf"--from {start}: rollouts wave 1 is not in .*\n  remedy: "):
            ssb_core.run(small, tmp_path / "store", tmp_path / "runs" / "x", start=start, progress=Progress())
    assert not (tmp_path / "store").exists() and not (tmp_path / "runs").exists()
    started = ssb_core.run(small, quick_run.store, tmp_path / "y", start="distill", progress=Progress())
    assert set(statuses(started).values()) == {"cached"}


def test_stages_that_do_not_fit_together_are_refused_before_any_work(small: RunConfig, tmp_path: Path) -> None:
    store, directory = tmp_path / "store", tmp_path / "runs" / "x"
    with pytest.raises(ConfigError, match="--from teach comes after --to select"):
        ssb_core.run(small, store, directory, start="teach", stop="select", progress=Progress())
    with pytest.raises(ConfigError, match="--force distill is outside of --from rollouts --to select"):
        ssb_core.run(small, store, directory, stop="select", force="distill", progress=Progress())
    for unknown in ({"start": "x"}, {"stop": "x"}, {"force": ["x"]}):
        with pytest.raises(ConfigError, match="there is no stage 'x'; stages are rollouts, select, "):
            ssb_core.run(small, store, directory, progress=Progress(), **unknown)  # type: ignore[arg-type]
    assert not store.exists() and not directory.exists()


def test_the_default_folder_is_named_by_the_configuration(
    small: RunConfig, quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = (ssb_core.run(small, quick_run.store, stop="select", progress=Progress()) for _ in range(2))
    assert first.directory == second.directory and first.directory.parent == Path("runs")
    assert first.name.startswith("custom-") and (first.directory / "report.html").is_file()


def test_a_file_that_another_process_found_damaged_is_made_again(
    small: RunConfig, quick_run: Run, tmp_path: Path
) -> None:
    run, progress, steps = copied(quick_run, tmp_path), Recorded(), list[str]()
    pipeline = Pipeline.of(small, run.store.root)
    (sampled,) = run.manifests("rollouts")
    whole = run.store.path(sampled, sampled.files[0]).read_bytes()
    with run_here(progress, time.time()) as here, run.store.looking_once():

        def damaging(step: Step, store: Store, force: bool) -> StageRun:
            steps.append(step.spec.stage)
            if steps == ["rollouts", "select"]:  # the child process of select has a store of its own
                path = store.path(sampled, sampled.files[0])
                path.write_bytes(whole[:-1] + b"x")
                list(Store(store.root).tables(sampled))
            return here(step, store, force)

        run_pipeline(run, "quickstart", pipeline, Span(stop="teach"), lambda _: nullcontext(damaging), progress)
    assert steps == ["rollouts", "select", "rollouts", "select", "teach"]
    assert statuses(run) == {"rollouts": "resumed", "select": "cached", "teach": "cached"}
    assert run.store.path(sampled, sampled.files[0]).read_bytes() == whole
    assert any(line.endswith("set aside, and made again now") for line in progress.notes)


def test_a_file_that_is_damaged_again_and_again_ends_the_run(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    def damaged(step: Step, store: Store, force: bool) -> StageRun:
        steps.append(step.spec.stage)
        raise Damaged("x.parquet was damaged (its checksum differs)")

    steps: list[str] = []
    pipeline = Pipeline.of(small, quick_run.store.root)
    with pytest.raises(Damaged):
        run_pipeline(
            Run(tmp_path / "x", quick_run.store), "p", pipeline, Span(), lambda _: nullcontext(damaged), Progress()
        )
    assert steps == ["rollouts"] * 3


def test_problems_that_change_during_a_run_are_refused(small: RunConfig, tmp_path: Path) -> None:
    source = write_problems(tmp_path / "problems.jsonl", 8)
    problem_set = small.problems.model_copy(update={"source": str(source), "id": "id", "limit": None})
    pipeline = Pipeline.of(small.model_copy(update={"problems": problem_set}), tmp_path)
    spec = pipeline.wave(0, 4).rollouts
    assert len(spec.load_wave()) == 4
    source.write_text(source.read_text().replace("?", "??"))
    with pytest.raises(ConfigError, match=r"problems changed during the run\n  remedy: run the same command again"):
        spec.load_wave()


def test_a_run_works_in_a_notebook_that_has_a_running_event_loop(small: RunConfig, tmp_path: Path) -> None:
    eight = ssb_core.load_preset("quickstart", *SMALL, "problems.limit=8", "rollouts.samples=2")

    async def cell() -> Run:
        return ssb_core.run(eight, tmp_path / "store", tmp_path / "here", stop="select", progress=Progress())

    results: list[Run] = []
    thread = threading.Thread(target=lambda: results.append(asyncio.run(cell())))
    thread.start()
    thread.join()
    (run,) = results
    assert statuses(run) == {"rollouts": "ran", "select": "ran"}
    store = run.store
    rows = [r for m in run.manifests("rollouts") for f in m.files for r in store.records(m, f, Rollout)]
    assert len(rows) == 16 and len({r.problem_id for r in rows}) == 8


def test_a_run_without_workers_says_so_if_the_configuration_asks_for_some(
    small: RunConfig, quick_run: Run, tmp_path: Path
) -> None:
    pytest.importorskip("prefect_ray")
    execution, progress = small.execution.model_copy(update={"workers": Workers(count=2)}), Recorded()
    config = small.model_copy(update={"execution": execution})
    ssb_core.run(config, quick_run.store, tmp_path / "x", stop="select", progress=progress)
    assert [line for line in progress.notes if line.startswith("execution.workers")] != []


def test_every_step_reports_all_requests_so_far(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    seen: list[tuple[list[str], list[str]]] = []

    def on_step(specs: Sequence[Any], stage_runs: Sequence[StageRun]) -> None:
        seen.append(([s.stage for s in specs], [s.status for s in stage_runs]))

    run, pipeline = Run(tmp_path / "x", quick_run.store), Pipeline.of(small, quick_run.store.root)
    open_runner = partial(run_here, began=time.time())
    run_pipeline(run, "p", pipeline, Span(stop="select"), open_runner, Progress(), on_step)
    assert seen == [(["rollouts"], ["cached"]), (["rollouts", "select"], ["cached", "cached"])]
    assert isinstance(next(pipeline.walk(run.store)).spec, rollouts.Spec)
