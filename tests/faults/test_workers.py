"""Shards made by two workers on a local Ray cluster: the store is the same, even if a worker is killed."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from ssb_core.config import presets
from ssb_core.store import Store
from tasks.ray_workers import forwarded_stderr
from tests.support.processes import FAULTY, SSB, api, gone, quickstart
from tests.support.runs import run_stages
from tests.support.served import TERMINAL, until
from tests.support.settings import SMALL
from tests.support.store_files import committed, manifests

pytestmark = pytest.mark.timeout(1200)
CUT = (
    *SMALL,
    "problems.limit=32",
    "target_traces=12",
    "distill.epochs=1",
    "execution.shard_size=4",
    "evaluate.benchmarks=[{name: nano-test, source: nano-test, limit: 16}]",
)
TWO = (*CUT, "execution.workers.count=2")
COMMAND = [*SSB, *quickstart("run", TWO)]


@dataclass
class Started:
    """A run with two workers. All of its processes have `mark` in their environment."""

    process: subprocess.Popen[bytes]
    folder: Path
    mark: str

    def workers(self) -> list[psutil.Process]:
        """The Ray processes that make shards."""
        return [p for p, name in self._all().items() if name.startswith("ray::worker")]

    def left(self) -> list[str]:
        return list(self._all().values())

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()

    def _all(self) -> dict[psutil.Process, str]:
        """All of its processes and their names."""
        names = {}
        for p in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
                if p.environ().get("SSB_TEST_MARK") == self.mark and not gone(p):
                    names[p] = p.name()
        return names


def start(env: dict[str, str], folder: Path) -> Started:
    marked = env | {"SSB_TEST_MARK": uuid.uuid4().hex, "PYTHONPATH": FAULTY, "SSB_TEST_FAULTS": str(folder)}
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(COMMAND, env=marked, cwd=folder, stdout=log, stderr=log, start_new_session=True)
    return Started(process, folder, marked["SSB_TEST_MARK"])


@dataclass
class Survived:
    """A run whose worker was killed in the middle of a shard, and the shards that were finished by then."""

    run: Started
    code: int
    finished: dict[str, int]


@pytest.fixture(scope="module")
def survived(served: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Survived]:
    folder = tmp_path_factory.mktemp("survived")
    (folder / "rollouts").write_text("slow 3")  # a commit takes 3 s, so workers wait with unfinished shards
    run = start(served, folder)
    try:
        until(lambda: len(committed(folder / "store")) >= 2 or run.process.poll() is not None, 280, run.log)
        finished = committed(folder / "store")
        assert run.process.poll() is None, run.log()
        run.workers()[0].kill()
        (folder / "rollouts").unlink()
        yield Survived(run, run.process.wait(500), finished)
    finally:
        if run.process.poll() is None:
            os.killpg(run.process.pid, signal.SIGINT)
            run.process.wait(30)


def test_two_workers_with_one_killed_make_the_same_store_as_one_process(survived: Survived, tmp_path: Path) -> None:
    assert survived.code == 0, survived.run.log()[-2000:]
    assert re.search(r"worker \d+ died with \d shards? unfinished", survived.run.log())
    run_stages(presets.load_config("quickstart", overrides=CUT), Store(tmp_path / "store"), tmp_path / "run")
    theirs = survived.run.folder / "store"
    assert manifests(theirs) == manifests(tmp_path / "store")
    made = {p.relative_to(tmp_path / "store") for p in (tmp_path / "store").glob("*/*/shards/*")}
    assert made == {p.relative_to(theirs) for p in theirs.glob("*/*/shards/*")}
    assert [p for p in sorted(made) if (theirs / p).read_bytes() != (tmp_path / "store" / p).read_bytes()] == []


def test_no_shard_that_was_finished_before_the_kill_is_made_again(survived: Survived) -> None:
    now = committed(survived.run.folder / "store")
    assert len(survived.finished) >= 2
    assert {p: t for p, t in now.items() if p in survived.finished} == survived.finished


def test_every_process_of_the_cluster_ends_with_the_run(survived: Survived) -> None:
    # Ray's own processes notice a moment later that the run is over.
    until(lambda: not survived.run.left(), 10, lambda: str(survived.run.left()))
    assert survived.run.left() == []


def test_prefect_shows_every_worker_and_which_one_died(survived: Survived, served: dict[str, str]) -> None:
    def states() -> list[str]:
        runs = api(served, "/task_runs/filter", task_runs={"name": {"like_": "rollouts worker"}}, limit=50)
        return sorted(r["state_type"] for r in runs)

    until(lambda: len(states()) == 3 and TERMINAL.issuperset(states()), 60, lambda: str(states()))
    assert states() == ["COMPLETED", "COMPLETED", "CRASHED"]


def test_lines_that_a_worker_and_its_children_write_to_stderr_are_passed_on(capfd: pytest.CaptureFixture[str]) -> None:
    lines: list[str] = []
    with forwarded_stderr(lines.append):
        os.write(2, b"its own\n")
        subprocess.run([sys.executable, "-c", "import sys; print('a child', file=sys.stderr)"], check=True)
    os.write(2, b"afterwards\n")
    assert lines == ["its own", "a child"]
    assert capfd.readouterr().err == "its own\na child\nafterwards\n"
