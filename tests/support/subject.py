"""A process that runs the small pipeline again and again, each time in a fresh child that a fault may strike.

Importing torch takes seconds, so each try is forked from a parent that has imported everything and done nothing yet.
`Subject` starts that parent, which is ``python -m tests.support.subject``. The parent has mounts of its own, which
vanish with it, and must respect file permissions even if it is root. A try ends with the messages and the exit code of
the command line, or by the fault. Every change that it makes to files is a line of a journal that outlives it.
"""

from __future__ import annotations

import contextlib
import json
import os
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

from tests.support.faults import Fault, Journal
from tests.support.settings import FAST

ROOT = Path(__file__).parents[2]
STAGE = "stage "  # stands before the name of a stage that begins, in a journal


@dataclass(frozen=True, slots=True)
class Try:
    """How one try ended: exit code (negative: a signal), journal, output, and processes of its session that are left.

    `signalled` is the number of signals that it was sent before it ended.
    """

    code: int
    journal: tuple[str, ...]
    log: str
    seconds: float
    left: tuple[str, ...]
    signalled: int

    def stage(self, at: str | None = None) -> str:
        """The stage in which it made the change `at`, or ended; ``begin`` before the first, ``end`` after the last."""
        lines = self.journal[: self.journal.index(at)] if at in self.journal else self.journal
        return next((line.removeprefix(STAGE) for line in reversed(lines) if line.startswith(STAGE)), "begin")

    @property
    def changes(self) -> tuple[str, ...]:
        """The journal without the beginnings of stages."""
        return tuple(line for line in self.journal if not line.startswith(STAGE))


@dataclass
class Subject:
    """The parent of all tries. Journals and logs are in the folder `logs`."""

    logs: Path
    tries: int = 0
    process: subprocess.Popen[str] = field(init=False)

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        root = os.geteuid() == 0
        privileges = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--"] if root else []
        namespace = ["unshare", "--mount", *([] if root else ["--map-root-user"])]
        self.process = subprocess.Popen(
            [*namespace, *privileges, sys.executable, "-m", "tests.support.subject"],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(self.logs / "subject.log").open("w"),
            text=True,
        )
        self._ask(mount=["--version"])  # it answers when everything is imported
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()

    def seen(self, path: Path) -> Path:
        """The path by which this process reaches `path` in the subject's mounts."""
        return Path(f"/proc/{self.process.pid}/root") / path.absolute().relative_to("/")

    def mount(self, *arguments: str) -> None:
        """Run ``mount`` in the subject's namespace.

        Raises:
            RuntimeError: the command failed.
        """
        if error := self._ask(mount=[*arguments])["error"]:
            raise RuntimeError(f"mount {' '.join(arguments)}: {error}")

    def attempt(
        self, folder: Path, fault: Fault | None = None, signals: Sequence[tuple[float, str]] = (), files: int = 0
    ) -> Try:
        """Run the pipeline in `folder` once more.

        `signals` are pairs of seconds after its start and the name of a signal. `files` limits the number of files that
        may be open at once.
        """
        self.tries += 1
        log, journal = (self.logs / f"{self.tries}.{kind}" for kind in ("log", "journal"))
        log.touch(), journal.touch()  # the try may be killed before it makes them
        started = time.monotonic()
        answer = self._ask(
            folder=str(folder.absolute()),
            journal=str(journal.absolute()),
            log=str(log.absolute()),
            files=files,
            fault=astuple(fault) if fault else None,
            signals=signals,
        )
        seconds = time.monotonic() - started
        lines = tuple(journal.read_text().splitlines())
        left = tuple(_session(answer["pid"]))
        return Try(answer["code"], lines, log.read_text(), seconds, left, answer["signalled"])

    def _ask(self, **request: Any) -> dict[str, Any]:
        assert self.process.stdin and self.process.stdout
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, (self.logs / "subject.log").read_text()
        return dict(json.loads(answer))


def _session(leader: int, patience: float = 10) -> Iterator[str]:
    """Processes of a session that are still alive after `patience` seconds."""
    deadline = time.monotonic() + patience
    while alive := [p for p in psutil.process_iter() if _belongs(p, leader)]:
        if time.monotonic() > deadline:
            yield from (str(p) for p in alive)
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
        request = json.loads(line)
        answers.write(json.dumps(_mount(request["mount"]) if "mount" in request else _run(request)) + "\n")
        answers.flush()


def _import_everything() -> None:
    """Import everything that a try needs, without starting a thread or loading a model."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure
    import peft
    import pyarrow.parquet
    import transformers

    import ssb_core.signal.capture
    import ssb_core.training.trainer
    from flows.cli import errors
    from ssb_core.stages import STAGES
    from ssb_core.stages.spec import stage_module
    from tests.support import runs

    assert (
        matplotlib
        and peft
        and pyarrow.parquet
        and transformers
        and ssb_core.signal.capture
        and ssb_core.training.trainer
    )
    assert errors and runs
    for stage in STAGES:
        stage_module(stage)


def _mount(arguments: list[str]) -> dict[str, str]:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    return {"error": done.stderr if done.returncode else ""}


def _run(request: dict[str, Any]) -> dict[str, int]:
    pid = os.fork()
    if pid == 0:
        _child(request)
    started, descriptor, signalled = time.monotonic(), os.pidfd_open(pid), 0
    for seconds, name in request["signals"]:
        if select.select([descriptor], [], [], max(0.0, started + seconds - time.monotonic()))[0]:
            break
        signal.pidfd_send_signal(descriptor, signal.Signals[name])
        signalled += 1
    os.close(descriptor)
    return {"pid": pid, "signalled": signalled, "code": os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}


def _child(request: dict[str, Any]) -> None:
    code = 70
    try:
        os.setsid()
        log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if request["files"]:
            resource.setrlimit(resource.RLIMIT_NOFILE, (request["files"], request["files"]))
        code = _pipeline(Path(request["folder"]), request)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _pipeline(folder: Path, request: dict[str, Any]) -> int:
    """Run the pipeline with the messages of the command line. Returns the exit code."""
    import typer

    from flows.cli.errors import clean_errors
    from ssb_core.config import presets
    from ssb_core.stages import isolation
    from ssb_core.store import Store
    from tests.support.runs import run_stages

    journal = os.open(request["journal"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    execute = isolation.execute

    def noted(spec: Any, *rest: Any) -> Any:
        os.write(journal, f"{STAGE}{spec.stage}\n".encode())
        try:
            return execute(spec, *rest)
        finally:
            os.write(journal, f"{STAGE}end\n".encode() if spec.stage == "evaluate" and spec.student else b"")

    isolation.execute = noted
    sys.addaudithook(Journal(folder, journal, Fault(*request["fault"]) if request["fault"] else None))
    try:
        with clean_errors():
            config = presets.load_config("quickstart", overrides=FAST)
            run_stages(config, Store(folder / "store"), folder / "runs" / "run")
    except typer.Exit as e:
        return e.exit_code
    return 0


if __name__ == "__main__":
    main()
