"""Distillation in several processes, one for each GPU: data-parallel, the adapter's gradients averaged.

With ``execution.train_sharded`` each holds a part of the frozen weights and gathers a layer's when it
comes to it (FSDP2).

torchrun's own launcher starts them. The first tells its progress through a named pipe.

With ``execution.train_nodes`` they are spread over machines that share the store. The pipeline runs on machine 0, where
its training writes down what the others have to join. On each of those runs
``python -m ssb_core.training.distributed STORE NUMBER`` (1, 2, ...), which joins one training after the other until it
is stopped.
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
from ..progress import Progress
from ..stages import distill
from ..stages.__main__ import Told
from ..stages.spec import module
from ..store import Store, write_json

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

CALL = "call.json"
KEEP = "keep "  # before the name of a checkpoint, in what the first process tells
MAY_PASS = os.EX_TEMPFAIL  # exit code of a process whose failure may pass: of errors only the text gets out
PATIENCE = 900  # seconds in which machines wait for each other
LOOK = 1.0  # seconds between looks for a training to join


def train(spec: distill.Spec, store: Store, work: Path, checkpoint: Path | None, progress: Progress) -> None:
    """`distill.train` in ``execution.train_processes`` processes, those of this machine among them.

    Raises:
        ConfigError: there are fewer GPUs.
        StoreError: one of them failed, and the message is its own.
        StageError: what may pass: one on this machine was killed or ran out of memory, or another did not come.
    """
    nodes, call = spec.execution.train_nodes, work / CALL
    if nodes > 1 and store.remote:
        raise ConfigError(
            f"execution.train_nodes: machines that train together need one folder, which a store at {store} is not\n"
            "  remedy: keep the store in a folder that all of them have, or train on one machine"
        )
    with _heard(work / "progress", progress, store.backend.upload_part) as pipe:
        try:
            if nodes > 1:
                progress.note(
                    f"waiting for {nodes - 1} more machines: python -m ssb_core.training.distributed STORE NUMBER"
                )
                job = {"stage": spec.stage, "spec": spec.model_dump(mode="json"), "id": uuid.uuid4().hex}
                write_json(call, job | {"checkpoint": checkpoint.name if checkpoint else None})
            launch(spec, 0, work, checkpoint, pipe)
        finally:
            call.unlink(missing_ok=True)


def launch(spec: distill.Spec, node: int, work: Path, checkpoint: Path | None, pipe: Path | None) -> None:
    """Run the processes of machine `node` to their end."""
    from torch.distributed import DistNetworkError, DistStoreError
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    how = spec.execution
    n, nodes = how.train_processes, how.train_nodes
    _refuse_too_few(n // nodes, how.device)
    config = LaunchConfig(
        min_nodes=nodes,
        max_nodes=nodes,
        nproc_per_node=n // nodes,
        run_id="ssb",
        rdzv_backend="static" if nodes > 1 else "c10d",
        rdzv_endpoint=how.train_endpoint or "127.0.0.1:0",
        rdzv_configs={"rank": node, "timeout": PATIENCE} if nodes > 1 else {},
        max_restarts=0,
        start_method="spawn",
        signals_to_handle="",  # they are the pipeline's to handle
    )
    try:
        elastic_launch(config, _train)(spec.stage, spec.model_dump_json(), work, checkpoint, pipe)
    except ChildFailedError as e:
        raise _failure(e, n) from e
    except (DistNetworkError, DistStoreError) as e:
        raise StageError(
            f"the machines of execution.train_nodes did not meet at {how.train_endpoint} (execution.train_endpoint), "
            f"or lost each other: {e}",
            transient=True,
        ) from e


def _failure(failed: ChildFailedError, n: int) -> StageError | StoreError:
    """What the first process that failed says; a signal or `MAY_PASS` means that another try may get past it."""
    rank, failure = failed.get_first_failure()
    said: Any = failure.message
    told = f"training process {rank} of {n} failed: {said if isinstance(said, str) else said['message']}"
    if failure.exitcode < 0 or failure.exitcode == MAY_PASS:
        return StageError(told, transient=True)
    return StoreError(told)


def _refuse_too_few(n: int, device: str) -> None:
    import torch

    if pick_device(device) == "cuda" and torch.cuda.device_count() < n:
        raise ConfigError(
            f"execution.train_processes: {n} processes here need a GPU each, and {torch.cuda.device_count()} can be "
            "seen\n  remedy: lower it, or show more of them (CUDA_VISIBLE_DEVICES)"
        )


def _train(stage: str, spec: str, work: Path, checkpoint: Path | None, pipe: Path | None) -> None:
    """What every process does; only the first has somebody who listens."""
    import torch
    from torch.distributed.elastic.multiprocessing.errors import record

    rank = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)  # the model's device is "cuda", which means this one then
    told = Told(pipe.open("w")) if pipe and rank == 0 else None
    request: Any = module(stage).Spec.model_validate_json(spec)
    keep = (lambda part: told.note(KEEP + str(part))) if told else (lambda part: None)
    try:
        record(distill.train)(request, keep, work, checkpoint, told or Progress())
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
            calls += store.glob(f"*/*/*.work/{CALL}")
        for call in calls:
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                job = json.loads(call.read_text())
                if job["id"] not in joined and node < job["spec"]["execution"]["train_nodes"]:
                    joined.add(job["id"])
                    _join(job, call.parent, node)
        time.sleep(LOOK)


def _join(job: dict[str, Any], work: Path, node: int) -> None:
    print(f"joining {work}", file=sys.stderr, flush=True)
    try:
        spec: Any = module(job["stage"]).Spec.model_validate(job["spec"])
        launch(spec, node, work, work / job["checkpoint"] if job["checkpoint"] else None, None)
    except (ValueError, StageError, StoreError) as e:  # the pipeline's machine says so too, and may call again
        print(f"error: {e}", file=sys.stderr, flush=True)


@contextmanager
def _heard(pipe: Path, progress: Progress, keep: Callable[[Path], None]) -> Iterator[Path]:
    """A named pipe; calls of `Progress` written into it are made here, and checkpoints that it names are kept."""
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    # Open for both: neither end then waits for the other, whichever process comes or dies first.
    with open(os.open(pipe, os.O_RDWR), "r+b", buffering=0) as both:
        failures: list[Exception] = []

        def listen() -> None:
            for line in iter(both.readline, b"\n"):
                try:
                    event = json.loads(line)
                    call, arguments = event["call"], event["arguments"]
                    if call == "note" and arguments[0].startswith(KEEP):
                        keep(Path(arguments[0].removeprefix(KEEP)))
                    else:
                        getattr(progress, call)(*arguments)
                except Exception as e:  # who writes must not wait for ever for somebody to read
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
