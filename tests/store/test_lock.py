"""One writer at a time: who waits says for whom, and a writer that dies leaves nothing that has to be broken."""

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
from ssb_core.errors import StoreError
from ssb_core.progress import Progress
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.store import Manifest, Recipe, Store, lock, work
from tests.support.processes import ROOT
from tests.support.served import until

SECONDS = 60  # after which something that should have happened never will
HOLD = """
import sys, time
from pathlib import Path
from ssb_core.store import lock
with lock.acquire(Path(sys.argv[1]), "rollouts", print):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease until its stdin is closed."""
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
    """Takes the lease in a thread of its own and notes what it is told."""

    def __init__(self, path: Path) -> None:
        super().__init__(daemon=True)
        self.path = path
        self.told: list[str] = []
        self.heard = threading.Event()
        self.start()

    def tell(self, line: str) -> None:
        self.told.append(line)
        self.heard.set()

    def run(self) -> None:
        with lock.acquire(self.path, "rollouts", self.tell):
            pass


def test_the_second_waits_says_for_whom_and_goes_on_when_the_first_is_done(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with another(path) as first:
        waiting = Waiting(path)
        assert waiting.heard.wait(SECONDS)
        assert f"rollouts: waiting for process {first.pid}, at work since" in waiting.told[0]
        found = lock.holder(path)
        assert found and found.pid == first.pid
        assert first.stdin
        first.stdin.close()
        waiting.join(SECONDS)
        assert not waiting.is_alive()
    assert path.read_bytes() == b"" and lock.holder(path) is None


def test_a_killed_holder_is_followed_at_once(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with another(path) as first:
        waiting = Waiting(path)
        assert waiting.heard.wait(SECONDS)
        first.kill()
        first.wait()
        waiting.join(SECONDS)
        assert not waiting.is_alive()
    assert path.read_bytes() == b""


def test_a_stopped_holder_keeps_its_lease_and_is_said_to_be_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "SILENCE", 0.2)
    monkeypatch.setattr(lock, "REMIND", 0.5)
    path = tmp_path / "writer.lock"
    with another(path) as first:
        os.kill(first.pid, signal.SIGSTOP)
        waiting = Waiting(path)
        while not any("no sign of life" in line for line in waiting.told):
            waiting.heard.clear()
            assert waiting.heard.wait(SECONDS)
        assert waiting.is_alive()
        os.kill(first.pid, signal.SIGCONT)
        assert first.stdin
        first.stdin.close()
        waiting.join(SECONDS)
        assert not waiting.is_alive()


def test_a_forked_child_does_not_keep_the_lease_of_its_parent(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    with lock.acquire(path, "rollouts", print):
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
        assert lock.holder(path)
    try:
        assert lock.holder(path) is None
        with lock.try_acquire(path) as alone:
            assert alone
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_a_lease_that_was_deleted_while_it_was_waited_for_is_made_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "REMIND", 0.1)
    path, new = tmp_path / "writer.lock", tmp_path / "new.lock"
    with another(path) as first, another(new) as second:
        waiting = Waiting(path)
        assert waiting.heard.wait(SECONDS)
        new.replace(path)  # deleted, and made anew by who came later
        first.kill()
        first.wait()
        until(lambda: any(f"process {second.pid}," in line for line in waiting.told), SECONDS)
        assert waiting.is_alive()
        assert second.stdin
        second.stdin.close()
        waiting.join(SECONDS)
        assert not waiting.is_alive()


def test_a_lease_that_is_written_anew_says_at_every_moment_who_holds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(change: Callable[..., object]) -> Callable[..., None]:
        def changed(*arguments: object) -> None:
            change(*arguments)
            seen.append(lock.Owner.parse(path.read_bytes()))

        return changed

    path, seen = tmp_path / "writer.lock", list[lock.Owner | None]()
    monkeypatch.setattr(lock, "BEAT", 0.01)
    for name in ("pwrite", "ftruncate"):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    with lock.acquire(path, "rollouts", print):
        until(lambda: len(seen) > 8, SECONDS)
        assert all(seen)


def test_a_lease_that_says_nothing_readable_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "writer.lock"
    path.write_bytes(b'{"host": "elsewh')  # a torn write of a holder that is gone
    with lock.acquire(path, "rollouts", print):
        assert lock.Owner.parse(path.read_bytes())


def test_what_a_holder_that_was_killed_at_the_very_end_left_is_cleared_when_its_result_is_used(
    quick_run: Run, tmp_path: Path
) -> None:
    manifest = quick_run.manifests("rollouts")[0]
    store = Store(tmp_path)
    path = tmp_path / "rollouts" / manifest.recipe / "writer.lock"
    with another(path) as first:
        work.delete_work(store, manifest)
        assert path.read_bytes()  # it lives
        first.kill()
        first.wait()
    work.delete_work(store, manifest)
    assert path.read_bytes() == b""


def test_who_waited_takes_what_the_other_made(quick_run: Run, small, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    store = Store(tmp_path / "store")
    spec = Pipeline.of(small, store.root).wave(0, 32).rollouts
    found: list[stages.Outcome] = []
    both = [
        threading.Thread(target=lambda: found.append(stages.execute(spec, Store(tmp_path / "store"), Progress())))
        for _ in range(2)
    ]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert sorted((o.made, o.reused) for o in found) == [(0, 2), (2, 0)]
    assert found[0].manifest == found[1].manifest == quick_run.manifests("rollouts")[0]


def test_a_store_of_another_format_is_refused_by_name(tmp_path: Path) -> None:
    store, recipe = Store(tmp_path), Recipe("rollouts", {"version": 1})
    (tmp_path / "format.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="has format 99, this version of ssb reads format 1\n  remedy: "):
        store.exclusive(recipe).__enter__()


def test_what_somebody_was_killed_in_who_noted_the_time_of_a_finished_request_goes_and_what_another_writes_stays(
    tmp_path: Path,
) -> None:
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
