"""The whole command under Prefect: killed while it writes cached results or its run's files, and on a full disk."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from dataclasses import astuple
from pathlib import Path

import pytest

from ssb_core.config import presets
from ssb_core.runs import Run
from ssb_core.store import Store
from tests.support import run_files
from tests.support.faults import FILLER, Fault
from tests.support.processes import ROOT, SSB, quickstart, run_ssb
from tests.support.runs import run_stages
from tests.support.settings import FAST

COMMAND = quickstart("run", FAST, "--name", "run")
pytestmark = [pytest.mark.timeout(600), pytest.mark.soak]
INJECT = os.pathsep.join((str(ROOT), str(Path(__file__).parent / "inject")))


def faulty(folder: Path, fault: Fault) -> dict[str, str]:
    """The environment of a process that `fault` strikes in `folder`."""
    setting = [str(folder), str(folder / "journal"), astuple(fault)]
    return {"PYTHONPATH": INJECT, "SSB_TEST_JOURNAL": json.dumps(setting)}


def finished(folder: Path) -> Run:
    """The same run by the library alone, without a fault."""
    return run_stages(
        presets.load_config("quickstart", overrides=FAST), Store(folder / "store"), folder / "runs" / "run"
    )


def checksums(folder: Path) -> dict[str, str]:
    """Checksums of the files that the library makes as well: all but Prefect's cached results."""
    assert (folder / "runs" / "run" / "report.html").exists()
    return {path: checksum for path, checksum in run_files.checksums(folder).items() if "/results/" not in path}


def test_killed_while_it_writes_prefects_and_its_own_files_it_goes_on(served: dict[str, str], tmp_path: Path) -> None:
    folder, reference = tmp_path / "user", tmp_path / "reference"
    folder.mkdir()
    distilled = finished(reference).manifests("distill")[0].fingerprint
    before: dict[str, run_files.Stamp] = {}
    for at in (
        f"open store/results/distill-{distilled}",
        "os.rename runs/run/unfinished/report.html.tmp",
        "os.rename runs/run/finished/report.html",
    ):
        killed = run_ssb(*COMMAND, env=served | faulty(folder, Fault(at)), cwd=folder)
        assert killed.returncode == -9, killed.stderr
        assert not run_files.made_again(before, run_files.finished_files(folder))
        before = run_files.finished_files(folder)
    done = run_ssb(*COMMAND, env=served, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert run_files.finished_files(folder) == before
    assert checksums(folder) == run_files.checksums(reference)
    assert run_files.run_results(folder) == run_files.run_results(reference)


def test_a_full_disk_under_prefects_results_is_one_message_and_costs_no_work(
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
    namespace = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", script]
    done = subprocess.run(namespace, env=env, capture_output=True, text=True, timeout=200)
    first, second = ((tmp_path / name).read_text() for name in ("first", "second"))
    codes = [line for line in done.stdout.splitlines() if line.isdigit()]
    assert codes == ["1", "0"], (done.stdout, done.stderr, first, second)
    assert first.count("error: ") == 1 and "No space left on device (0.0 MB free)" in first, first
    assert "runs/run/unfinished/stages.json: " in first and "remedy: free some" in first and "Traceback" not in first, (
        first
    )
    assert "rollouts wave 1: cached" in second
    assert checksums(kept) == run_files.checksums(reference)
