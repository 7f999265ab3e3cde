"""Locks on this machine: one holder at a time, messages of a process that waits, and holders that are killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ssb_core import stages
from ssb_core.config import RunConfig
from ssb_core.progress import Progress
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages.execute import execute
from ssb_core.store import Manifest, Store, lock, work
from tests.support.processes import ROOT
from tests.support.served import until

SECONDS = 60  # after this time an event that did not happen never will
HOLD = """
import sys, time
from pathlib import Path
from ssb_core.store import lock
with lock.acquire(Path(sys.argv[1]), "rollouts", print):
    print("held", flush=True)
    sys.stdin.read()
"""

TRY = """
import sys
from pathlib import Path
from ssb_core.store import lock
with lock.exclusive(Path(sys.argv[1])) as held:
    print(held)
"""


@contextmanager
def another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock until its stdin is closed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdin=-1, stdout=-1, text=True, env=os.environ
    )
    assert process.stdout and process.stdout.readline() == "held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()


class Waiting(threading.Thread):
    """A thread that acquires the lock and collects the messages it gets while it waits."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.messages: list[str] = []
        self.got_message = threading.Event()
        self.start()

    def on_wait(self, line: str) -> None:
        self.messages.append(line)
        self.got_message.set()

    def run(self) -> None:
        with lock.acquire(self.path, "rollouts", self.on_wait):
            pass


def test_a_second_process_waits_says_for_which_one_and_goes_on_after_it(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with another(path) as first:
        waiting = Waiting(path)
        assert waiting.got_message.wait(SECONDS)
        assert f"rollouts: waiting for process {first.pid}, at work since" in waiting.messages[0]
        holder = lock.holder(path)
        assert holder and holder.pid == first.pid
        assert first.stdin
        first.stdin.close()
        waiting.join(SECONDS)
        assert not waiting.is_alive()
    assert path.read_bytes() == b"" and lock.holder(path) is None


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with another(path) as first:
        waiting = Waiting(path)
        assert waiting.got_message.wait(SECONDS)
        first.kill()
        first.wait()
        waiting.join(SECONDS)
        assert not waiting.is_alive()
    assert path.read_bytes() == b""


def test_a_stopped_process_keeps_its_lock_and_is_reported_as_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SILENCE", 0.2)
    monkeypatch.setattr(lock, "REMIND", 0.5)
    path = tmp_path / "writer.lock"
    with another(path) as first:
        os.kill(first.pid, signal.SIGSTOP)
        waiting = Waiting(path)
        while not any("no sign of life" in line for line in waiting.messages):
            waiting.got_message.clear()
            assert waiting.got_message.wait(SECONDS)
        assert waiting.is_alive()
        os.kill(first.pid, signal.SIGCONT)
        assert first.stdin
        first.stdin.close()
        waiting.join(SECONDS)
        assert not waiting.is_alive()


def test_a_forked_child_does_not_keep_the_lock_of_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with lock.acquire(path, "rollouts", print):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        assert lock.holder(path)
    try:
        assert lock.holder(path) is None
        with lock.try_acquire(path) as held:
            assert held
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lock_file_that_is_deleted_during_the_wait_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "REMIND", 0.1)
    path, new = tmp_path / "writer.lock", tmp_path / "new.lock"
    with another(path) as first, another(new) as second:
        waiting = Waiting(path)
        assert waiting.got_message.wait(SECONDS)
        new.replace(path)  # deleted, and made again by a later process
        first.kill()
        first.wait()
        until(lambda: any(f"process {second.pid}," in line for line in waiting.messages), SECONDS)
        assert waiting.is_alive()
        assert second.stdin
        second.stdin.close()
        waiting.join(SECONDS)
        assert not waiting.is_alive()


def test_a_lock_file_names_its_holder_at_every_moment_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(change: Callable[..., object]) -> Callable[..., None]:
        def changed(*arguments: object) -> None:
            change(*arguments)
            owners.append(lock.Owner.parse(path.read_bytes()))

        return changed

    path, owners = tmp_path / "writer.lock", list[lock.Owner | None]()
    monkeypatch.setattr(lock, "BEAT", 0.01)
    for name in ("pwrite", "ftruncate"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    with lock.acquire(path, "rollouts", print):
        until(lambda: len(owners) > 8, SECONDS)
        assert all(owners)


def test_an_unreadable_lock_file_can_be_acquired(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    path.write_bytes(b'{"host": "elsewh')  # a torn write of a process that is gone
    with lock.acquire(path, "rollouts", print):
        assert lock.Owner.parse(path.read_bytes())


def test_the_lock_file_of_a_process_killed_at_the_end_is_cleared_with_its_work(quick_run: Run, tmp_path: Path) -> None:
    manifest = quick_run.manifests("rollouts")[0]
    store = Store(tmp_path)
    path = tmp_path / "rollouts" / manifest.recipe / "writer.lock"
    with another(path) as first:
        work.delete_work(store, manifest)
        assert path.read_bytes()  # its process is alive
        first.kill()
        first.wait()
    work.delete_work(store, manifest)
    assert path.read_bytes() == b""


def test_of_two_that_execute_one_request_the_second_takes_the_result_of_the_first(
    quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    store = Store(tmp_path / "store")
    spec = Pipeline.of(small, store.root).wave(0, 32).rollouts
    outcomes: list[stages.Outcome] = []

    def make() -> None:
        outcomes.append(execute(spec, Store(tmp_path / "store"), stages.Runtime(Progress())))

    both = [threading.Thread(target=make) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted((o.made, o.reused) for o in outcomes) == [(0, 2), (2, 0)]
    assert outcomes[0].manifest == outcomes[1].manifest == quick_run.manifests("rollouts")[0]


def test_delete_work_deletes_notes_of_dead_writers_and_keeps_those_of_live_ones(tmp_path: Path) -> None:
    store, manifest = Store(tmp_path), Manifest("rollouts", "recipe", "print", ())
    folder = tmp_path / "rollouts" / "recipe" / "seconds"
    folder.mkdir(parents=True)
    ended = subprocess.Popen(["true"])
    ended.wait()
    dead, alive = (folder / f"print.json.{pid}.tmp" for pid in (ended.pid, os.getpid()))
    for path in (dead, alive):
        path.touch()
    work.delete_work(store, manifest)
    assert list(folder.iterdir()) == [alive]


def test_an_exclusive_folder_is_locked_for_other_processes_and_free_after_the_block(tmp_path: Path) -> None:
    with lock.exclusive(tmp_path) as held:
        assert held
        done = subprocess.run(
            [sys.executable, "-c", TRY, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
        )
        assert done.stdout == "False\n"
    with lock.exclusive(tmp_path, wait=True) as held:
        assert held


def test_an_error_within_try_acquire_is_raised_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="mine"), lock.try_acquire(tmp_path / "none") as held:
        assert held
        raise FileNotFoundError("mine")
