"""Trainings of the small run: their requests, traces and adapters, and listeners that count or break off."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ssb_core.config import RunConfig
from ssb_core.progress import Progress
from ssb_core.runs import Run
from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import distill, required
from ssb_core.store import Store
from ssb_core.training.dataset import Traces, write_dataset


def spec_of(settings: RunConfig, store: Store) -> distill.Spec:
    """The distillation of a run whose traces are in the store."""
    steps = Pipeline.of(settings, store.root).walk(store)
    return next(step.spec for step in steps if isinstance(step.spec, distill.Spec))


def with_distill(spec: distill.Spec, **changes: Any) -> distill.Spec:
    return spec.model_copy(update={"distill": spec.distill.model_copy(update=changes)})


def with_execution(spec: distill.Spec, **changes: Any) -> distill.Spec:
    return spec.model_copy(update={"execution": spec.execution.model_copy(update=changes)})


def without_students(run: Run, target: Path) -> Store:
    """A copy of a run's store without its distillation."""
    shutil.copytree(run.store.root, target, ignore=shutil.ignore_patterns("distill"))
    return Store(target)


def written_traces(spec: distill.Spec, store: Store, folder: Path) -> Traces:
    """The traces that a distillation learns from, written into `folder`."""
    write_dataset(store, [required(t, store) for t in spec.teach], spec.limit, folder / "traces.arrow")
    return Traces(folder / "traces.arrow")


def adapter(spec: distill.Spec, store: Store) -> dict[str, torch.Tensor]:
    """The weights of a finished adapter by their names."""
    return dict(load_file(spec.load_adapter(store) / "adapter_model.safetensors"))


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two adapters have the same bits."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def trained_tokens(directory: Path) -> int:
    """The number of solution tokens in a finished training's speed.json."""
    return int(json.loads((directory / "speed.json").read_text())["tokens"])


class StopsAfter(Progress):
    """Breaks off after `steps` steps, as a kill would."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, n: int = 1) -> None:
        self.left -= n
        if self.left < 0:
            raise InterruptedError


class Counted(Progress):
    """Counts the steps that were announced and done."""

    def __init__(self) -> None:
        self.total = self.done = 0

    def begin(self, label: str, total: int, unit: str, done: int = 0) -> None:
        self.total, self.done = total, done

    def advance(self, n: int = 1) -> None:
        self.done += n
