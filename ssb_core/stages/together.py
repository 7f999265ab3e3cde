"""Distillation in several processes of this machine, one for each GPU: data-parallel, the adapter's gradients averaged.

With ``execution.train_sharded`` each holds a part of the frozen weights and gathers a layer's when it
comes to it (FSDP2).

torchrun's own launcher starts them. The first tells its progress through a named pipe.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..config import ConfigError
from ..models import pick_device
from ..progress import Progress
from ..store import Store, StoreError
from . import distill, module
from .__main__ import Told


def train(spec: distill.Spec, store: Store, work: Path, checkpoint: Path | None, progress: Progress) -> None:
    """`distill.train` in ``execution.train_processes`` processes.

    Raises:
        ConfigError: there are fewer GPUs.
        StoreError: one of them failed; the message is its own.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    n = spec.execution.train_processes
    _refuse_too_few(n, spec.execution.device)
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=n,
        run_id="ssb",
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",
        max_restarts=0,
        start_method="spawn",
        signals_to_handle="",  # they are the pipeline's to handle
    )
    with _heard(work / "progress", progress) as pipe:
        try:
            request = (spec.stage, spec.model_dump_json(), store.location)
            elastic_launch(config, _train)(*request, work, checkpoint, pipe)
        except ChildFailedError as e:
            rank, failure = e.get_first_failure()
            raise StoreError(f"training process {rank} of {n} failed: {failure.message}") from e


def _refuse_too_few(n: int, device: str) -> None:
    import torch

    if pick_device(device) == "cuda" and torch.cuda.device_count() < n:
        raise ConfigError(
            f"execution.train_processes: {n} processes need a GPU each, and {torch.cuda.device_count()} can be seen\n"
            "  remedy: lower it, or show more of them (CUDA_VISIBLE_DEVICES)"
        )


def _train(stage: str, spec: str, store: str, work: Path, checkpoint: Path | None, pipe: Path) -> None:
    """What every process does; only the first has somebody who listens."""
    import torch
    from torch.distributed.elastic.multiprocessing.errors import record

    rank = int(os.environ["LOCAL_RANK"])
    if torch.cuda.is_available():
        torch.cuda.set_device(rank)  # the model's device is "cuda", which means this one then
    progress = Told(pipe.open("w")) if rank == 0 else Progress()
    request: Any = module(stage).Spec.model_validate_json(spec)
    record(distill.train)(request, Store.at(store), work, checkpoint, progress)


@contextmanager
def _heard(pipe: Path, progress: Progress) -> Iterator[Path]:
    """A named pipe; calls of `Progress` written into it are made here."""
    pipe.unlink(missing_ok=True)
    os.mkfifo(pipe)
    # Open for both: neither end then waits for the other, whichever process comes or dies first.
    with open(os.open(pipe, os.O_RDWR), "r+b", buffering=0) as both:
        failures: list[Exception] = []

        def listen() -> None:
            for line in iter(both.readline, b"\n"):
                try:
                    event = json.loads(line)
                    getattr(progress, event["call"])(*event["arguments"])
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
