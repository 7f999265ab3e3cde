"""SIGKILL to the whole command without a server of the user's own: no process is left, and the next run goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from ssb_core.config import presets
from ssb_core.store import Store
from tests.support import run_files
from tests.support.processes import SSB, quickstart
from tests.support.runs import run_stages
from tests.support.served import until
from tests.support.settings import FAST
from tests.support.store_files import counter
from tests.support.terminal import MARK, descendants

pytestmark = [pytest.mark.timeout(600), pytest.mark.soak]


def test_stopped_continued_and_killed_it_leaves_no_process_and_loses_no_work(
    alone: dict[str, str], tmp_path: Path
) -> None:
    store, log, mark = tmp_path / "store", tmp_path / "log", str(tmp_path)
    shards, command = counter(store, "rollouts/*/shards/*.json"), [*SSB, *quickstart("run", FAST, "--name", "run")]
    with log.open("w") as out:
        process = subprocess.Popen(command, env=alone | {MARK: mark}, cwd=tmp_path, stdout=out, stderr=out)
    until(lambda: "rollouts" in log.read_text() or process.poll() is not None, 150, log.read_text)
    psutil.Process(process.pid).suspend()
    time.sleep(1)
    psutil.Process(process.pid).resume()
    until(lambda: shards() >= 1 or process.poll() is not None, 150, log.read_text)
    below = [p.cmdline() for p in descendants(mark, but=process.pid)]
    assert any("uvicorn" in line for line in below), below
    process.send_signal(signal.SIGKILL)
    assert process.wait(60) == -signal.SIGKILL, log.read_text()
    until(lambda: not descendants(mark), 20, lambda: str(descendants(mark)))
    before = run_files.finished_files(tmp_path)
    run_stages(presets.load_config("quickstart", overrides=FAST), Store(store), tmp_path / "runs" / "run")
    assert before and not run_files.made_again(before, run_files.finished_files(tmp_path))
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".tmp", ".work", ".damaged")]
