"""``python -m ssb_core.stages SPEC.json``: run one stage in a fresh process.

The file holds ``{"store": ..., "stage": ..., "part": ..., "spec": {...}}``, as `Spec.dump` writes the latter three. The
path of the manifest is the last line printed.

With ``--serve SCRATCH`` it takes such objects from stdin, one on each line, and answers in lines of JSON: events of
`ssb_core.progress` as they come, then ``{"event": "done", "made": ..., "reused": ...}`` or ``{"event": "failed",
"error": ..., "message": ..., "transient": ...}``. An engine stays loaded between jobs, and ``null`` ends the process.
If stdin closes before that, it kills itself and everything it started. Temporary files go into the folder SCRATCH,
which is deleted then.
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
from typing import Any

from ..engines import LoadedEngine
from ..errors import may_pass
from ..progress import JsonProgress, PlainProgress, send
from ..store import Store
from .execute import execute
from .runtime import Runtime
from .spec import Spec


def main(arguments: list[str]) -> int:
    """Run a job from a file, or serve jobs; returns the exit code."""
    if arguments[:1] == ["--serve"] and len(arguments) == 2:
        serve(Path(arguments[1]))
        return 0
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 2
    job = json.loads(Path(arguments[0]).read_text())
    try:
        spec = Spec.load(job)
    except ValueError as e:
        print(f"{arguments[0]}: {e}", file=sys.stderr)
        return 2
    store = Store.at(job["store"])
    outcome = execute(spec, store, Runtime(PlainProgress()))
    print(store.layout.recipe(spec.stage, spec.recipe.hash).manifest(outcome.manifest.fingerprint))
    return 0


def serve(scratch: Path) -> None:
    """Run the jobs on stdin until one is null."""
    tempfile.tempdir = os.environ["TMPDIR"] = str(scratch)
    answers = os.fdopen(os.dup(1), "w")  # output of libraries must not mix with the answers
    os.dup2(2, 1)
    jobs: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
    threading.Thread(target=_read_jobs, args=(jobs, scratch), daemon=True).start()
    with LoadedEngine() as engines:
        runtime = Runtime(JsonProgress(answers), engines)
        while (job := jobs.get()) is not None:
            try:
                outcome = execute(Spec.load(job), Store.at(job["store"]), runtime)
            except Exception as e:
                traceback.print_exc()
                send(answers, "failed", error=type(e).__name__, message=str(e), transient=may_pass(e))
            else:
                send(answers, "done", made=outcome.made, reused=outcome.reused)


def _read_jobs(jobs: queue.SimpleQueue[dict[str, Any] | None], scratch: Path) -> None:
    for line in sys.stdin:
        jobs.put(json.loads(line))
    shutil.rmtree(scratch, ignore_errors=True)
    os.killpg(0, signal.SIGKILL)  # the parent has ended; the engine's processes would not notice


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
