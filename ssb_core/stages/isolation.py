"""Stages run in this process, or in fresh ones whose memory is free again however they end.

On CUDA, and with vLLM, every request that loads a model runs in a process of its own (``python -m ssb_core.stages``),
and so does a training in several processes.
A process that samples stays for the next request with the same weights, so that a wave's rollouts and solutions share
a loaded engine; it ends before anything else loads a model. A process ends itself when the pipe to its parent closes,
so none outlives a killed run. Lines of JSON travel both ways; the process writes its log to stderr.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any, Self

from .. import engines
from ..engines import LoadedEngine
from ..errors import ConfigError, Damaged, StageError, StoreError, Unreachable
from ..models import pick_device
from ..progress import Progress, replay
from ..store import Store
from .directory import TrainedSpec
from .execute import Outcome, execute, finished, parts, required
from .runtime import Runtime, ShardMaker, make_here
from .spec import Spec

log = logging.getLogger(__name__)

TAIL = 15  # lines from the end of a dead process's log that its error shows
COMPLAINT = re.compile(r"(?:^|\] )\s*((?:\w+\.)*\w*(?:Error|Exception): .*)")  # vLLM's processes put a prefix before
GRACE = 30  # seconds in which an engine shuts down
REFUSALS = {"ConfigError": ConfigError, "StoreError": StoreError, "Damaged": Damaged, "Unreachable": Unreachable}


def overdue(spec: Spec, tail: str = "") -> StageError:
    """The error of a request that exceeded its time limit; `tail` is the end of its log."""
    return StageError(
        f"stage {spec.stage} exceeded its time limit ({spec.execution.stage_hours(spec.stage):g} hours: "
        "execution.timeout_hours or execution.stage_timeout_hours) and was stopped; finished shards are kept, the same "
        f"command continues from there{tail}"
    )


def isolated(spec: Spec, workers: bool = False) -> bool:
    """Whether a request runs in a fresh process: one that loads a model does, and one with a deadline of its own.

    `workers` says whether there are any to make the shards of requests that ask for them.
    """
    execution = spec.execution
    if workers and spec.uses_workers:  # workers load its models, and they also have a deadline
        return False
    has_deadline = spec.stage in execution.stage_timeout_hours
    if execution.isolate == "never" or not (spec.uses_model or has_deadline):
        return False
    if execution.isolate == "always" or has_deadline or _trains_in_several(spec):
        return True
    return pick_device(execution.device) == "cuda" or engines.choose_local(execution).engine == "vllm"


def _trains_in_several(spec: Spec) -> bool:
    """Whether torchrun trains in several processes, which a signal to the command's group must not reach one by one."""
    return isinstance(spec, TrainedSpec) and spec.execution.train_processes > 1


class StageRunner:
    """Runs requests one after the other. A context manager that leaves no process and no engine behind."""

    def __init__(self, write: Callable[[str], None] = log.info, make_shards: ShardMaker = make_here) -> None:
        """`write` is called with every line that stages' processes log; it may be changed."""
        self.write = write
        self.make_shards = make_shards
        self.engines = LoadedEngine()
        self.process: StageProcess | None = None
        self.engine_key: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if kind and self.process:  # a cancelled run does not wait for an engine to shut down
            self.process.kill()
            self.process = None
        self.end_process()
        self.engines.release()

    def execute(self, spec: Spec, store: Store, progress: Progress) -> Outcome:
        """Run the stage of `spec`, unless its request is finished already.

        Raises:
            StageError: its process died, failed or exceeded its time limit.
        """
        workers = self.make_shards is not make_here
        if finished(spec, store) or not isolated(spec, workers):  # a finished request needs no device or engine
            return execute(spec, store, Runtime(progress, self.engines, self.make_shards))
        for part in parts(spec):
            self.execute(part, store, progress)
        process = self._process_for(spec)
        try:
            made, reused = process.run(spec, store, progress)
        except BaseException:
            process.kill()
            self.process = None
            raise
        if self.engine_key is None:
            self.end_process()
        return Outcome(required(spec, store), made, reused)

    def end_process(self) -> None:
        """End the process that is kept, with everything it started."""
        if self.process:
            self.process.end()
        self.process = None

    def _process_for(self, spec: Spec) -> StageProcess:
        key = spec.engine_key
        if self.process is None or key is None or key != self.engine_key:
            self.end_process()
            self.process, self.engine_key = StageProcess(lambda line: self.write(line)), key
        return self.process


class StageProcess:
    """A living ``python -m ssb_core.stages --serve``, in a process group of its own."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.write = write
        self.tail: deque[str] = deque(maxlen=TAIL)
        self.deadline = 0.0  # of the current request, in monotonic seconds
        self.complaints: dict[str, None] = {}
        self.events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.scratch = tempfile.TemporaryDirectory(prefix="ssb-stage-")  # for files that killed engines leave
        self.child = subprocess.Popen(
            [sys.executable, "-m", "ssb_core.stages", "--serve", self.scratch.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,
        )
        assert self.child.stdout and self.child.stderr
        self.readers = [
            threading.Thread(target=self._read_events, args=(self.child.stdout,), daemon=True),
            threading.Thread(target=self._read_log, args=(self.child.stderr,), daemon=True),
        ]
        for reader in self.readers:
            reader.start()

    def run(self, spec: Spec, store: Store, progress: Progress) -> tuple[int, int]:
        """Run one request there. Returns how many shards (or steps) were made now and before.

        Raises:
            ConfigError, StoreError: as the stage raised it.
            StageError: anything else went wrong.
        """
        self._send({"store": store.location, **spec.dump()})
        limit = spec.execution.stage_hours(spec.stage)
        self.deadline = time.monotonic() + 3600 * limit
        for event in self._events():
            if event is None:
                raise StageError(f"stage {spec.stage}: its process {self._how_it_ended()}{self._post_mortem()}", True)
            if event["event"] == "failed":
                refusal = REFUSALS.get(event["error"])
                raise refusal(event["message"]) if refusal else self._failure(spec, event)
            if event["event"] == "done":
                return event["made"], event["reused"]
            if event["event"] == "wait":  # waiting for another process is not work
                self.deadline = time.monotonic() + 3600 * limit
            try:
                replay(event, progress)
            except ValueError as e:
                raise StageError(f"stage {spec.stage}: its process sent {e}") from e
        raise overdue(spec, self._post_mortem())

    def end(self) -> None:
        """Let the process shut its engine down, and kill it if that takes too long."""
        self._send(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.child.wait(GRACE)
        self.kill()

    def kill(self) -> None:
        """Kill the process and everything it started, and wait until they are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()
        for reader in self.readers:  # the pipes close when the last process that holds them is gone
            reader.join(GRACE)
        assert self.child.stdin
        with contextlib.suppress(BrokenPipeError):
            self.child.stdin.close()
        self.scratch.cleanup()

    def _send(self, job: dict[str, Any] | None) -> None:
        assert self.child.stdin
        with contextlib.suppress(BrokenPipeError):  # the wait for its answer notices that it ended
            self.child.stdin.write(json.dumps(job) + "\n")
            self.child.stdin.flush()

    def _events(self) -> Iterator[dict[str, Any] | None]:
        with contextlib.suppress(queue.Empty):
            while True:
                yield self.events.get(timeout=max(self.deadline - time.monotonic(), 0.0))

    def _read_events(self, pipe: IO[str]) -> None:
        for line in pipe:
            if (event := _event(line)) is not None:
                self.events.put(event)
            else:  # a library printed it before the pipe was redirected
                self.write(line.rstrip())
        self.events.put(None)

    def _read_log(self, pipe: IO[str]) -> None:
        for line in pipe:
            self.tail.append(line.rstrip())
            self.write(line.rstrip())
            if complaint := COMPLAINT.search(line):
                self.complaints[complaint[1].rstrip()] = None

    def _how_it_ended(self) -> str:
        try:
            code = self.child.wait(GRACE)
        except subprocess.TimeoutExpired:
            return "stopped answering"
        if code >= 0:
            return f"ended with exit code {code}"
        why = {
            signal.SIGKILL: "; the kernel does this when memory runs out (see dmesg): lower execution.batch_size "
            "or execution.vllm.kv_cache_gib",
            signal.SIGSEGV: " (segmentation fault in a native library)",
        }
        return f"was killed by {signal.Signals(-code).name}{why.get(signal.Signals(-code), '')}"

    def _failure(self, spec: Spec, event: dict[str, Any]) -> StageError:
        log, hint = self._post_mortem(), ""
        if "out of memory" in "".join((event["message"], *self.complaints)).lower():
            hint = "\n  remedy: lower execution.batch_size, execution.capture_tokens or execution.vllm.kv_cache_gib"
        message = f"stage {spec.stage} failed: {event['error']}: {event['message']}{hint}{log}"
        return StageError(message, event["transient"] or bool(hint))

    def _post_mortem(self) -> str:
        """The errors in the log (the first is often the cause), and the end of the log.

        The process is killed first: until the log's pipe closes, part of the log may be unread.
        """
        self.kill()
        parts = {"errors in its log:": list(self.complaints)[:TAIL], "the end of its log:": list(self.tail)}
        return "".join(f"\n  {title}" + "".join(f"\n  | {x:.300}" for x in p) for title, p in parts.items() if p)


def _event(line: str) -> dict[str, Any] | None:
    """The event in a line of JSON, if it is one."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) and "event" in event else None
