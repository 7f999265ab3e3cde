"""The trained student of a finished run, as files."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError, StoreError
from ..runs import Run
from ..stages.directory import weights
from ..store import sha256_file


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """A run's trained adapter: the file of its weights, and its PEFT configuration."""

    weights: Path
    config: dict[str, Any]


def find_adapter(run: Run) -> AdapterFiles:
    """Find the adapter of a run's student, and check the digest of its weights.

    Raises:
        ConfigError: the run ended before it trained a student.
        StoreError: the weights are damaged.
    """
    manifests = run.manifests("distill")
    if not manifests:
        last = list(run.load_summary()["stages"])[-1]
        raise ConfigError(
            f"run {run.name} has no student: it ended after {last}\n  remedy: finish it "
            f"with `ssb run --config {run.directory / 'config.yaml'} --name {run.name}`, or export its --dataset alone"
        )
    file = weights(manifests[0])
    path = run.store.path(manifests[0], file)
    if sha256_file(path) != file.sha256:
        raise StoreError(
            f"{path} is damaged: its checksum is not the recorded one\n  remedy: make it again with "
            f"`ssb run --config {run.directory / 'config.yaml'} --name {run.name} --force distill`"
        )
    return AdapterFiles(path, json.loads((path.parent / "adapter_config.json").read_text()))
