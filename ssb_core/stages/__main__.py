"""``python -m ssb_core.stages SPEC.json``: run one stage in a fresh process.

The file holds ``{"stage": ..., "store": ..., "spec": {...}}``; the manifest's path is the last line printed.

With ``--serve SCRATCH`` it takes such objects from stdin, a line each, and answers in lines of JSON: progress as it
comes, then one of ``{"event": "done", "made": ..., "reused": ...}`` and ``{"event": "failed", "error": ..., "message":
..., "transient": ...}``. An engine stays loaded between jobs; ``null`` ends it. When stdin closes before, it kills
itself and all it started. Temporary files go into the folder SCRATCH, which is deleted then.
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import IO, Any

from ..engines import keeping
from ..errors import may_pass
from ..progress import PlainProgress, Progress
from ..store import Store
from .spec import STAGES, Spec, execute, module


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--serve"] and len(arguments) == 2:
        serve(Path(arguments[1]))
        return 0
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 2
    job = json.loads(Path(arguments[0]).read_text())
    if job["stage"] not in STAGES:
        print(f"{arguments[0]}: there is no stage {job['stage']!r}; stages are {', '.join(STAGES)}", file=sys.stderr)
        return 2
    spec, store = read(job)
    outcome = execute(spec, store, PlainProgress())
    print(store.directory(spec.recipe) / "manifests" / f"{outcome.manifest.fingerprint}.json")
    return 0


def read(job: dict[str, Any]) -> tuple[Spec, Store]:
    """The request of a job, and the store it is for."""
    kind: type[Spec] = getattr(module(job["stage"]), job.get("part", "Spec"))
    return kind.model_validate(job["spec"]), Store.at(job["store"])


def written(spec: Spec, store: Store) -> dict[str, Any]:
    """A request as a job, for `read` in another process."""
    job = {"stage": spec.stage, "part": type(spec).__name__, "store": store.location}
    return job | {"spec": spec.model_dump(mode="json")}


def serve(scratch: Path) -> None:
    """Run the jobs on stdin until one is null."""
    tempfile.tempdir = os.environ["TMPDIR"] = str(scratch)
    answers = os.fdopen(os.dup(1), "w")  # what libraries print must not be among the answers
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs, scratch), daemon=True).start()
    progress = Told(answers)
    with keeping():
        while (job := jobs.get()) is not None:
            try:
                spec, store = read(job)
                outcome = execute(spec, store, progress)
            except Exception as e:
                traceback.print_exc()
                _answer(answers, event="failed", error=type(e).__name__, message=str(e), transient=may_pass(e))
            else:
                _answer(answers, event="done", made=outcome.made, reused=outcome.reused)


def _read_jobs(jobs: queue.SimpleQueue[dict[str, Any] | None], scratch: Path) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)  # the parent is gone; engines have processes that would not notice


def _answer(answers: IO[str], **event: Any) -> None:
    answers.write(json.dumps(event) + "\n")
    answers.flush()


class Told(Progress):
    """Progress as lines of JSON."""

    def __init__(self, answers: IO[str]) -> None:
        self.answers = answers

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self._tell("begin", label, total, unit, done)

    def advance(self, n: int = 1) -> None:
        self._tell("advance", n)

    def end(self) -> None:
        self._tell("end")

    def note(self, text: str) -> None:
        self._tell("note", text)

    def wait(self, text: str) -> None:
        self._tell("wait", text)

    def _tell(self, call: str, *arguments: Any) -> None:
        _answer(self.answers, event="progress", call=call, arguments=arguments)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
