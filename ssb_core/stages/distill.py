"""Stage distill: a LoRA student sees only the bare question and matches the teacher's distribution (paper, eq. 3).

The result is a directory with ``adapter/`` (PEFT, safetensors) and ``log.jsonl``. Training goes on from its last whole
checkpoint. `ssb_core.training` does the training itself.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from ..config import DistillConfig, require_packages
from ..errors import ConfigError, StoreError
from ..store import Manifest, Store, digest, work
from ..training import checkpoints, dataset, distributed
from ..training.distill import DATA, train
from ..training.job import TrainingJob
from ..training.log import read_log, refuse_divergence
from . import shortage, teach
from .directory import TrainedSpec, commit_training
from .execute import Outcome, required, sources
from .runtime import Runtime


class Spec(TrainedSpec):
    """A student of the first `limit` traces of the given waves. The last `distill.held_out` of them are held out."""

    stage: ClassVar[str] = "distill"
    version: ClassVar[int] = 2
    method: Literal["ssb"] = "ssb"
    teach: tuple[teach.Spec, ...]
    limit: int
    distill: DistillConfig

    def recipe_content(self) -> dict[str, Any]:
        return {"teach": self.teach[0].recipe.hash, "limit": self.limit, "distill": self.distill.recipe}

    def inputs(self) -> list[str]:
        return [t.fingerprint for t in self.teach]

    @property
    def labels(self) -> dict[str, Any]:
        return {"model": self.method, "seed": self.distill.seed}

    @property
    def job(self) -> TrainingJob:
        """The training, for the processes that do it."""
        return TrainingJob(
            label=self.stage,
            model=self.teach[0].model,
            settings=self.distill,
            lora_rank=self.distill.lora_rank,
            lora_alpha=self.distill.lora_alpha,
            execution=self.execution,
        )

    def as_text(self) -> dict[str, Any]:
        """The fields of a request for the same traces, learned by cross-entropy alone."""
        plain = self.distill.model_copy(update={"cross_entropy": 1.0})
        return {"teach": self.teach, "limit": self.limit, "distill": plain, "execution": self.execution}


WriteDataset = Callable[[Spec, Store, Sequence[Manifest], Path], int]
"""Writes the traces to learn from into a file, and returns their number."""


def write_dataset(spec: Spec, store: Store, taught: Sequence[Manifest], path: Path) -> int:
    """Write the taught traces with their signal to `path`; returns how many there are."""
    return dataset.write_dataset(store, taught, spec.limit, path)


def run(spec: Spec, store: Store, runtime: Runtime, write_dataset: WriteDataset = write_dataset) -> Outcome:
    """Train on what `write_dataset` writes, from the last checkpoint if there is one, and commit the adapter."""
    require_packages(spec.execution)
    _refuse_remote_nodes(spec, store)
    manifests = [required(t, store) for t in spec.teach]
    store.prepare(spec.recipe)
    # The name has a digest of the upstream bytes, so a checkpoint that was made from others is not used.
    work_dir = work.work_dir(store, spec.recipe, spec.fingerprint, digest(sources(spec, store)))
    traces = write_dataset(spec, store, manifests, work_dir / DATA)
    if traces <= spec.distill.held_out:
        raise StoreError(shortage.explain(spec, store, traces, spec.distill.held_out))
    checkpoint = checkpoints.last(work_dir)
    if checkpoint is None:
        shutil.rmtree(work_dir / "result", ignore_errors=True)
    runtime.engines.release()
    trainer = distributed.train if spec.execution.train_processes > 1 else train
    trainer(spec.job, store.backend.upload_part, work_dir, checkpoint, runtime.progress)
    stats = _stats(traces - spec.distill.held_out, work_dir / "result")
    return commit_training(spec, store, work_dir, stats, checkpoints.step(checkpoint))


def _refuse_remote_nodes(spec: Spec, store: Store) -> None:
    if spec.execution.train_nodes > 1 and store.remote:
        raise ConfigError(
            f"execution.train_nodes: machines that train together need a shared folder, but the store is at {store}\n"
            "  remedy: keep the store in a folder that all of them have, or train on one machine"
        )


def _stats(traces: int, result: Path) -> dict[str, Any]:
    """The stats of a distillation for its manifest.

    Raises:
        StoreError: training diverged.
    """
    log = read_log(result)
    refuse_divergence(log, "distill.learning_rate")
    stats = {"traces": traces, "steps": len(log), "first_loss": log[0]["loss"], "last_loss": log[-1]["loss"]}
    if held_out := [row["held_out_loss"] for row in log if "held_out_loss" in row]:
        stats |= {"first_held_out_loss": held_out[0], "best_held_out_loss": min(held_out)}
    return stats
