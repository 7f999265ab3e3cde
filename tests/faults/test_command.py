"""The whole command under Prefect: killed where it writes results and its run's files, and on a full disk."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from pathlib import Path

import pytest

from ssb_core.config import presets
from ssb_core.runs import Run
from ssb_core.store import Store
from tests.faults import judge
from tests.faults.subject import FAST, FILLER, Fault
from tests.support.processes import ROOT, SSB, quickstart, run_ssb
from tests.support.runs import run_stages

COMMAND = quickstart("run", FAST, "--name", "run")
pytestmark = [pytest.mark.timeout(600), pytest.mark.soak]
INJECT = os.pathsep.join((str(ROOT), str(Path(__file__).parent / "inject")))


def faulty(folder: Path, fault: Fault) -> dict[str, str]:
    """The environment in which a process strikes `fault` in `folder`."""
    return {"PYTHONPATH": INJECT, "SSB_TEST_JOURNAL": json.dumps([str(folder), str(folder / "journal"), [
        fault.at, fault.do, fault.amount]])}  # fmt: skip


def finished(folder: Path) -> Run:
    """The same run by the library alone, uninterrupted."""
    return run_stages(
        presets.load_config("quickstart", overrides=FAST), Store(folder / "store"), folder / "runs" / "run"
    )


def test_killed_while_prefect_and_the_run_write_their_files_it_goes_on_and_ends_as_if_nothing_happened(
    served: dict[str, str], tmp_path: Path
) -> None:
    folder, reference = tmp_path / "user", tmp_path / "reference"
    folder.mkdir()
    distilled = finished(reference).manifests("distill")[0].fingerprint
    seen: dict[str, judge.Stamp] = {}
    for at in (f"open store/results/distill-{distilled}", "os.rename runs/run/report.html.tmp"):
        killed = run_ssb(*COMMAND, env=served | faulty(folder, Fault(at)), cwd=folder)
        assert killed.returncode == -9, killed.stderr
        assert not judge.redone(seen, judge.committed(folder))
        seen = judge.committed(folder)
    done = run_ssb(*COMMAND, env=served, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert judge.committed(folder) == seen
    made = {path: digest for path, digest in judge.contents(folder).items() if "/results/" not in path}
    assert made.pop("runs/run/report.html") and made == judge.contents(reference)
    assert judge.results(folder) == judge.results(reference)


def test_a_disk_that_fills_up_where_prefect_notes_a_result_is_one_clear_message_and_costs_nothing(
    served: dict[str, str], tmp_path: Path
) -> None:
    folder, kept, reference = tmp_path / "user", tmp_path / "kept", tmp_path / "reference"
    folder.mkdir()
    kept.mkdir()
    selected = finished(reference).manifests("select")[0].fingerprint
    command, copy = shlex.join([*SSB, *COMMAND]), f"cp -r --preserve=timestamps {folder}/store {folder}/runs {kept}/"
    script = f"""
        mount -t tmpfs -o size=24m none {folder} && cd {folder} || exit 99
        {command} 2> {tmp_path}/first; echo $?
        rm {FILLER}; unset SSB_TEST_JOURNAL
        {command} 2> {tmp_path}/second; echo $?
        {copy}"""
    env = served | faulty(folder, Fault(f"open store/results/select-{selected}", "fill"))
    apart = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", script]
    done = subprocess.run(apart, env=env, capture_output=True, text=True, timeout=200)
    first, second = ((tmp_path / name).read_text() for name in ("first", "second"))
    codes = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert codes == ["1", "0"], (done.stdout, done.stderr, first, second)
    assert first.count("error: ") == 1 and "No space left on device (0.0 MB free)" in first, first
    assert "runs/run/stages.json: " in first and "remedy: free some" in first and "Traceback" not in first, first
    assert "rollouts wave 1: cached" in second
    made = {path: digest for path, digest in judge.contents(kept).items() if "/results/" not in path}
    assert made.pop("runs/run/report.html") and made == judge.contents(reference)
