"""The trained adapter of a finished run, as a program outside of SSB loads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..stages.directory import weights
from . import queries
from .provenance import recorded_model

if TYPE_CHECKING:
    from ..runs import Run


@dataclass(frozen=True, slots=True)
class TrainedAdapter:
    """The folder of a LoRA adapter, and the base that it changes, as ``from_pretrained`` takes it.

    `revision` is the commit of a base on the hub, and None for a folder.
    """

    directory: Path
    base: str
    revision: str | None
    dtype: str


def load_adapter(run: Run) -> TrainedAdapter | None:
    """The student's adapter (of the first seed and round); None if the run trained no student."""
    for manifest in run.manifests("distill"):
        directory = run.store.path(manifest, weights(manifest)).parent.absolute()
        config = json.loads((directory / "adapter_config.json").read_text(encoding="utf-8"))
        base = str(config["base_model_name_or_path"])
        name, at, commit = str(recorded_model(run)["identity"]).rpartition("@")
        revision = commit if at and name == base else None
        return TrainedAdapter(directory, base, revision, queries.load_config(run).model.dtype)
    return None
