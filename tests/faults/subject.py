"""What the faults are done to: the small pipeline as a library, each try a fresh process.

Importing torch takes seconds, so tries are forked from a parent that has imported everything and done nothing yet
(`Subject` starts it; ``python -m tests.faults.subject`` is it). It has mounts of its own, which vanish with it, and no
right to write where permissions forbid, which root otherwise has. A try ends with the command line's messages and exit
codes, or by the fault. What it does to its files goes, line by line, into a journal that outlives it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

ROOT = Path(__file__).parents[2]
FAST = (
    "problems.limit=24",
    "target_traces=6",
    "distill.epochs=2",
    "distill.save_steps=1",
    "execution.shard_size=6",
    "evaluate.benchmarks=[{name: nano-test, source: nano-test, limit: 12}]",
)
STAGE = "stage "  # before the name of a stage that begins, in a journal
CHANGES = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}
FILLER = "filler"


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens right before the try does `at`, a line of an uninterrupted try's journal.

    `do` is a signal's name, ``later`` (SIGKILL after `amount` milliseconds), ``fill`` (nothing but `amount` bytes stay
    free) or ``clock`` (a day back from there on).
    """

    at: str
    do: str = "SIGKILL"
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Try:
    """How one try ended: exit code (negative: the signal), journal, what it printed, what is left of its session.

    `signalled` counts the signals that it was sent before its end.
    """

    code: int
    journal: tuple[str, ...]
    log: str
    seconds: float
    left: tuple[str, ...]
    signalled: int

    def stage(self, at: str | None = None) -> str:
        """The stage in which it did `at`, or ended; ``begin`` before the first and ``end`` after the last."""
        lines = self.journal[: self.journal.index(at)] if at in self.journal else self.journal
        return next((line.removeprefix(STAGE) for line in reversed(lines) if line.startswith(STAGE)), "begin")

    @property
    def changes(self) -> tuple[str, ...]:
        return tuple(line for line in self.journal if not line.startswith(STAGE))


@dataclass
class Subject:
    """The parent of tries. `told` is a folder for journals and logs."""

    told: Path
    tries: int = 0
    process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> Self:
        self.told.mkdir(parents=True, exist_ok=True)
        root = os.geteuid() == 0
        powers = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"] if root else []
        apart = ["unshare", "--mount", *([] if root else ["--map-root-user"])]
        self.process = subprocess.Popen(
            [*apart, *powers, sys.executable, "-m", "tests.faults.subject"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.told / "subject.log").open("w"),
            text=True,
        )
        self._ask(mount=["--version"])  # answered when everything is imported
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()

    def seen(self, path: Path) -> Path:
        """`path` as the subject sees it, with its mounts."""
        return Path(f"/proc/{self.process.pid}/root") / path.absolute().relative_to("/")

    def mount(self, *arguments: str) -> None:
        """Run ``mount`` where only the subject sees it.

        Raises:
            RuntimeError: it failed.
        """
        if said := self._ask(mount=[*arguments])["failed"]:
            raise RuntimeError(f"mount {' '.join(arguments)}: {said}")

    def attempt(
        self, folder: Path, fault: Fault | None = None, signals: Sequence[tuple[float, str]] = (), files: int = 0
    ) -> Try:
        """The same command once more, in `folder`; `signals` come so many seconds after its start.

        `files` limits how many may be open at once.
        """
        self.tries += 1
        log, journal = (self.told / f"{self.tries}.{kind}" for kind in ("log", "journal"))
        log.touch(), journal.touch()  # it may be killed before it has
        started = time.monotonic()
        ended = self._ask(
            folder=str(folder.absolute()),
            journal=str(journal.absolute()),
            log=str(log.absolute()),
            files=files,
            fault=astuple(fault) if fault else None,
            signals=signals,
        )
        seconds = time.monotonic() - started
        lines = tuple(journal.read_text().splitlines())
        left = tuple(_session(ended["pid"]))
        return Try(ended["code"], lines, log.read_text(), seconds, left, ended["signalled"])

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, (self.told / "subject.log").read_text()
        return dict(json.loads(answer))


def _session(leader: int, patience: float = 10) -> Iterator[str]:
    """Processes of a session that are still there after a while."""
    deadline = time.monotonic() + patience
    while found := [p for p in psutil.process_iter() if _belongs(p, leader)]:
        if time.monotonic() > deadline:
            yield from (str(p) for p in found)
            return
        time.sleep(0.02)


def _belongs(process: psutil.Process, leader: int) -> bool:
    with contextlib.suppress(ProcessLookupError, psutil.Error):
        return os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE
    return False


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    _import_everything()
    for line in sys.stdin:
        order = json.loads(line)
        answers.write(json.dumps(_mount(order["mount"]) if "mount" in order else _run(order)) + "\n")
        answers.flush()


def _import_everything() -> None:
    """All that a try would import, without a thread or a model being started by it."""
    import peft
    import pyarrow.parquet
    import transformers

    import ssb_core.signal.capture
    import ssb_core.training.trainer
    from flows.cli import errors
    from ssb_core.results import summary
    from ssb_core.stages import STAGES, module
    from tests import conftest

    assert peft and pyarrow.parquet and transformers and ssb_core.signal.capture and ssb_core.training.trainer
    assert errors and summary and conftest
    for stage in STAGES:
        module(stage)


def _mount(arguments: list[str]) -> dict[str, str]:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    return {"failed": done.stderr if done.returncode else ""}


def _run(order: dict[str, Any]) -> dict[str, int]:
    pid = os.fork()
    if pid == 0:
        _child(order)
    started, descriptor, signalled = time.monotonic(), os.pidfd_open(pid), 0
    for seconds, name in order["signals"]:
        if select.select([descriptor], [], [], max(0.0, started + seconds - time.monotonic()))[0]:
            break
        signal.pidfd_send_signal(descriptor, signal.Signals[name])
        signalled += 1
    os.close(descriptor)
    return {"pid": pid, "signalled": signalled, "code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}


def _child(order: dict[str, Any]) -> None:
    code = 70
    try:
        os.setsid()
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if order["files"]:
            resource.setrlimit(resource.RLIMIT_NOFILE, (order["files"], order["files"]))
        code = _pipeline(Path(order["folder"]), order)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _pipeline(folder: Path, order: dict[str, Any]) -> int:
    """Run everything as the command line would; its exit code."""
    import typer

    from flows.cli.errors import clean_errors
    from ssb_core.config import presets
    from ssb_core.stages import isolation
    from ssb_core.store import Store
    from tests.support.runs import run_stages

    journal = os.open(order["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    execute = isolation.execute

    def told(spec: Any, *rest: Any) -> Any:
        os.write(journal, f"{STAGE}{spec.stage}\n".encode())
        try:
            return execute(spec, *rest)
        finally:
            os.write(journal, f"{STAGE}end\n".encode() if spec.stage == "evaluate" and spec.student else b"")

    isolation.execute = told
    sys.addaudithook(Journal(folder, journal, Fault(*order["fault"]) if order["fault"] else None))
    try:
        with clean_errors():
            settings = presets.load_config("quickstart", overrides=FAST)
            run_stages(settings, Store(folder / "store"), folder / "runs" / "run")
    except typer.Exit as e:
        return e.exit_code
    return 0


class Journal:
    """An audit hook that notes every change below `folder` before it is done, and springs the fault."""

    def __init__(self, folder: Path, descriptor: int, fault: Fault | None) -> None:
        self.folder = f"{folder}/"
        self.descriptor = descriptor
        self.fault = fault

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not (event == "open" or event in CHANGES) or not isinstance(arguments[0], (str, Path)):
            return
        if event in CHANGES and arguments[-1] != -1:
            return  # of a name within an open folder, as whole trees are deleted
        path = os.path.abspath(arguments[0])
        if not path.startswith(self.folder):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            if not path.endswith(".tmp"):
                return
            event = "sync"  # for which it is opened once more
        if path.endswith(FILLER) or (event == "os.mkdir" and os.path.exists(path)):
            return
        line = f"{event} {re.sub(r'[.][0-9]+[.]tmp$', '.tmp', path.removeprefix(self.folder))}"
        os.write(self.descriptor, f"{line}\n".encode())
        if self.fault and self.fault.at == line:
            fault, self.fault = self.fault, None
            self._spring(fault)

    def _spring(self, fault: Fault) -> None:
        match fault.do:
            case "fill":
                fill(Path(self.folder), fault.amount)
            case "later":
                # Not by fork, after which a process with threads may stand still.
                wait = f"sleep {fault.amount / 1000}; kill -KILL {os.getpid()} 2> /dev/null"
                os.posix_spawn("/bin/sh", ["sh", "-c", wait], os.environ)
            case "clock":
                now = time.time
                time.time = lambda: now() - 86_400
            case _:
                os.kill(os.getpid(), signal.Signals[fault.do])


def fill(folder: Path, leave: int = 0) -> None:
    """Take all the disk's space but `leave` bytes, with a real file."""
    there = os.statvfs(folder)
    wanted = there.f_bavail * there.f_frsize - leave
    with contextlib.suppress(OSError), (folder / FILLER).open("ab") as filler:
        os.posix_fallocate(filler.fileno(), os.fstat(filler.fileno()).st_size, max(wanted, 0))
        if not leave:
            while True:  # what bookkeeping left over
                filler.write(bytes(4096))
                filler.flush()


if __name__ == "__main__":
    main()
