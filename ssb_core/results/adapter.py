"""The trained adapter of a finished run, as a program outside of SSB loads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .. import models
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
    """The student's adapter (of the first seed and round); None if the run trained no student.

    Raises:
        Damaged: a file of the adapter is gone at the store's URL.
    """
    for manifest in run.manifests("distill"):
        paths = {Path(file.path).name: run.store.path(manifest, file) for file in manifest.files}
        path, model = paths["adapter_config.json"], queries.load_config(run).model
        recorded = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
        base = str(models.NANO if model.source == "nano" else recorded)  # another installation may have trained it
        return TrainedAdapter(path.parent.absolute(), base, _revision(run, base), model.dtype)
    return None


def _revision(run: Run, base: str) -> str | None:
    """The commit of the base that the run used, or the configured revision if the recipe of its rollouts is damaged."""
    try:
        name, _, commit = str(recorded_model(run)["identity"]).rpartition("@")
    except KeyError:
        return queries.load_config(run).model.revision
    return commit if name == base else None
