"""Distillation in several processes, one for each GPU: data-parallel, the adapter's gradients averaged.

With ``execution.train_sharded`` each process holds a part of the frozen weights and gathers those of a layer when it
computes that layer (FSDP2).

torchrun's own launcher starts the processes. The first of them reports progress and checkpoints through a named pipe.

With ``execution.train_nodes`` the processes are spread over machines that share the store's folder. The pipeline runs
on machine 0, whose training writes down the job that the others join. On each of those runs
``python -m ssb_core.training.distributed STORE NUMBER`` (NUMBER is 1, 2, ...), which joins one training after the other
until it is stopped.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError, StageError, StoreError, may_pass
from ..models import pick_device
from ..progress import JsonProgress, Progress, replay, send
from ..store import Layout, write_json
from . import distill
from .job import TrainingJob

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

CALL = "call.json"
CHECKPOINT = "checkpoint"  # event with the path of a checkpoint to keep
MAY_PASS = os.EX_TEMPFAIL  # exit code of a process whose failure may pass: only the text of an error gets out
PATIENCE = 900  # seconds in which machines wait for each other
LOOK = 1.0  # seconds between looks for a training to join


def train(
    job: TrainingJob, keep: Callable[[Path], None], work_dir: Path, checkpoint: Path | None, progress: Progress
) -> None:
    """`distill.train` in ``execution.train_processes`` processes. This machine runs its share of them.

    Raises:
        ConfigError: there are too few GPUs.
        StoreError: one of the processes failed; the message is its own.
        StageError: a failure that may pass: a process of this machine was killed or ran out of memory, or another
            machine did not come.
    """
    nodes, call = job.execution.train_nodes, work_dir / CALL
    with _listening(work_dir / "progress", progress, keep) as pipe:
        try:
            if nodes > 1:
                progress.note(
                    f"waiting for {nodes - 1} more machines: python -m ssb_core.training.distributed STORE NUMBER"
                )
                name = checkpoint.name if checkpoint else None
                write_json(call, {"id": uuid.uuid4().hex, "job": job.model_dump(mode="json"), "checkpoint": name})
            launch(job, 0, work_dir, checkpoint, pipe)
        finally:
            call.unlink(missing_ok=True)


def launch(job: TrainingJob, node: int, work_dir: Path, checkpoint: Path | None, pipe: Path | None) -> None:
    """Run the processes of machine number `node` until they end."""
    from torch.distributed import DistNetworkError, DistStoreError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    execution = job.execution
    processes, nodes = execution.train_processes, execution.train_nodes
    _refuse_too_few_gpus(processes // nodes, execution.device)
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=processes // nodes,
        run_id="ssb",
        rdzv_backend="static" if nodes > 1 else "c10d",
        rdzv_endpoint=execution.train_endpoint or "127.0.0.1:0",
        rdzv_configs={"rank": node, "timeout": PATIENCE} if nodes > 1 else {},
        max_restarts=0,
        start_method="spawn",
        signals_to_handle="",  # the pipeline handles signals
    )
    try:
        elastic_launch(config, _train)(job.model_dump_json(), work_dir, checkpoint, pipe)
    except ChildFailedError as e:
        raise _failure(e, processes) from e
    except (DistNetworkError, DistStoreError) as e:
        raise StageError(
            f"the machines of execution.train_nodes did not meet at {execution.train_endpoint} "
            f"(execution.train_endpoint), or lost each other: {e}",
            transient=True,
        ) from e


def _failure(error: ChildFailedError, processes: int) -> StageError | StoreError:
    """The error of the first process that failed. A signal or `MAY_PASS` means that another try may succeed."""
    rank, failure = error.get_first_failure()
    detail: Any = failure.message
    message = (
        f"training process {rank} of {processes} failed: {detail if isinstance(detail, str) else detail['message']}"
    )
    if failure.exitcode < 0 or failure.exitcode == MAY_PASS:
        return StageError(message, transient=True)
    return StoreError(message)


def _refuse_too_few_gpus(n: int, device: str) -> None:
    import torch

    if pick_device(device) == "cuda" and torch.cuda.device_count() < n:
        raise ConfigError(
            f"execution.train_processes: {n} processes here need a GPU each, but only "
            f"{torch.cuda.device_count()} are visible\n  remedy: lower it, or change CUDA_VISIBLE_DEVICES"
        )


def _train(job: str, work_dir: Path, checkpoint: Path | None, pipe: Path | None) -> None:
    """The body of every process. Only the first one of machine 0 has a pipe to report through."""
    import torch
    from torch.distributed.elastic.multiprocessing.errors import record

    rank = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)  # the model's device is "cuda", which now means this one
    stream = pipe.open("w") if pipe and rank == 0 else None

    def keep(path: Path) -> None:
        if stream:
            send(stream, CHECKPOINT, path=str(path))

    progress = JsonProgress(stream) if stream else Progress()
    try:
        record(distill.train)(TrainingJob.model_validate_json(job), keep, work_dir, checkpoint, progress)
    except Exception as e:
        if may_pass(e):
            raise SystemExit(MAY_PASS) from e
        raise


def join(store: Path, node: int) -> None:
    """Join every training in the store that calls for machine `node`, one after the other, for ever."""
    joined: set[str] = set()
    while True:
        calls: list[Path] = []
        with contextlib.suppress(FileNotFoundError):  # a folder was deleted meanwhile
            calls += Layout(store).files_of_work(CALL)
        for call in calls:
            with contextlib.suppress(FileNotFoundError):  # the training ended meanwhile
                content = json.loads(call.read_text())
                if content["id"] not in joined and node < content["job"]["execution"]["train_nodes"]:
                    joined.add(content["id"])
                    _join(content, call.parent, node)
        time.sleep(LOOK)


def _join(call: dict[str, Any], work_dir: Path, node: int) -> None:
    print(f"joining {work_dir}", file=sys.stderr, flush=True)
    checkpoint = work_dir / call["checkpoint"] if call["checkpoint"] else None
    try:
        launch(TrainingJob.model_validate(call["job"]), node, work_dir, checkpoint, None)
    except (ValueError, StageError, StoreError) as e:  # the pipeline's machine reports it too, and may call again
        print(f"error: {e}", file=sys.stderr, flush=True)


@contextmanager
def _listening(pipe: Path, progress: Progress, keep: Callable[[Path], None]) -> Iterator[Path]:
    """A named pipe. The progress that is written into it is replayed here, and its checkpoints are kept."""
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    # Open for both: neither end then waits for the other, whichever process comes or dies first.
    with open(os.open(pipe, os.O_RDWR), "r+b", buffering=0) as both:
        failures: list[Exception] = []

        def listen() -> None:
            for line in iter(both.readline, b"\n"):
                try:
                    event = json.loads(line)
                    if event["event"] == CHECKPOINT:
                        keep(Path(event["path"]))
                    else:
                        replay(event, progress)
                except Exception as e:  # a writer must not wait for ever for a reader
                    failures.append(e)

        listener = threading.Thread(target=listen, daemon=True)
        listener.start()
        try:
            yield pipe
        finally:
            both.write(b"\n")
            listener.join()
            pipe.unlink()
        if failures:
            raise failures[0]


if __name__ == "__main__":
    if len(sys.argv) != 3 or not sys.argv[2].isdigit():
        print(__doc__)
        raise SystemExit(2)
    try:
        join(Path(sys.argv[1]), int(sys.argv[2]))
    except KeyboardInterrupt:
        raise SystemExit(130) from None
