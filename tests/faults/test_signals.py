"""Signals to the whole command without a server of the user's own: no process is left, and the next run goes on."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable
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

pytestmark = [pytest.mark.timeout(600), pytest.mark.soak]
COMMAND = [*SSB, *quickstart("run", FAST, "--name", "run")]


def descendants(process: subprocess.Popen[bytes], mark: str) -> list[psutil.Process]:
    """Processes that the command has started: each has `mark` in its environment."""
    processes = []
    for p in psutil.process_iter():
        try:
            if p.pid != process.pid and p.environ().get("SSB_TEST_MARK") == mark and p.status() != "zombie":
                processes.append(p)
        except psutil.Error:
            continue
    return processes


def signalled(number: int, reached: Callable[[], bool], env: dict[str, str], folder: Path, *options: str) -> str:
    """The log of the command until it ended by the signal, which it gets the moment `reached` holds.

    Before that it is stopped for a second, with its stage's process if it has one, and then continued.
    """
    log, mark = folder / f"{number}.log", f"{folder}-{number}"
    with log.open("w") as out:
        process = subprocess.Popen(
            [*COMMAND, *options], env=env | {"SSB_TEST_MARK": mark}, cwd=folder, stdout=out, stderr=out
        )
    until(lambda: "rollouts" in log.read_text() or process.poll() is not None, 150, log.read_text)
    stopped = [
        psutil.Process(process.pid),
        *(p for p in descendants(process, mark) if "ssb_core.stages" in p.cmdline()),
    ]
    for p in stopped:
        p.suspend()
    time.sleep(1)
    for p in reversed(stopped):
        p.resume()
    until(lambda: reached() or process.poll() is not None, 150, log.read_text)
    below = [p.cmdline() for p in descendants(process, mark)]
    assert any("uvicorn" in line for line in below), below
    process.send_signal(number)
    assert process.wait(60) == (-number if number == signal.SIGKILL else 128 + number), log.read_text()
    until(lambda: not descendants(process, mark), 20, lambda: str(descendants(process, mark)))
    return log.read_text()


def test_killed_terminated_or_interrupted_it_leaves_no_process_and_loses_no_work(
    alone: dict[str, str], tmp_path: Path
) -> None:
    store, isolated = tmp_path / "store", ("--set", "execution.isolate=always")
    shards, solutions, evaluated = (
        counter(store, f"{stage}/*/shards/*.json") for stage in ("rollouts", "teach", "evaluate")
    )
    signalled(signal.SIGKILL, lambda: shards() >= 1, alone, tmp_path)
    before = run_files.finished_files(tmp_path)
    for number, reached in ((signal.SIGTERM, lambda: solutions() >= 1), (signal.SIGINT, lambda: evaluated() >= 1)):
        output = signalled(number, reached, alone, tmp_path, *(isolated if number == signal.SIGTERM else ()))
        assert output.count("interrupted; finished shards are kept") == 1 and "Traceback" not in output, output
        assert not run_files.made_again(before, run_files.finished_files(tmp_path))
        before = run_files.finished_files(tmp_path)
    run_stages(presets.load_config("quickstart", overrides=FAST), Store(store), tmp_path / "runs" / "run")
    assert not run_files.made_again(before, run_files.finished_files(tmp_path))
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".tmp", ".work", ".damaged")]
