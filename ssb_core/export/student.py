"""The student as a PEFT adapter or as merged weights, with tokenizer, chat template and generation settings."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import models
from ..errors import ConfigError, StoreError
from ..models.generation import generation_config
from ..results.provenance import Provenance
from ..runs import Run
from ..stages.directory import weights
from ..store import sha256_file
from .cards import Card

WEIGHTS = "adapter_model.safetensors"
SHARD_SIZE = "5GB"


@dataclass(frozen=True, slots=True)
class AdapterFiles:
    """A run's trained adapter: the file of its weights, and its PEFT configuration."""

    weights: Path
    config: dict[str, Any]


def find(run: Run) -> AdapterFiles:
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


def write_adapter(provenance: Provenance, adapter: AdapterFiles, directory: Path) -> Card:
    """Write the adapter as peft and vLLM read it, with the name of its base."""
    shutil.copyfile(adapter.weights, directory / WEIGHTS)
    base = {"base_model_name_or_path": provenance.model.source, "revision": provenance.model.revision}
    config = json.dumps(adapter.config | base, indent=2, sort_keys=True)
    (directory / "adapter_config.json").write_text(config + "\n", encoding="utf-8")
    tokenizer = _write_tokenizer(provenance, directory)
    settings = generation_config(provenance.model, tokenizer, provenance.config.evaluate)
    settings.save_pretrained(directory)
    return _card("adapter", adapter, tokenizer, settings)


def write_merged(provenance: Provenance, adapter: AdapterFiles, directory: Path) -> Card:
    """Write the base's weights with the adapter added in float32, rounded once to the dtype of the run."""
    import torch

    merged = models.load_merged(provenance.model, adapter.weights.parent).to(getattr(torch, provenance.model.dtype))
    tokenizer = _write_tokenizer(provenance, directory)
    merged.generation_config = generation_config(provenance.model, tokenizer, provenance.config.evaluate)
    with models.no_bars():
        merged.save_pretrained(directory, max_shard_size=SHARD_SIZE)
    return _card("merged", adapter, tokenizer, merged.generation_config)


def _card(kind: str, adapter: AdapterFiles, tokenizer: Any, settings: Any) -> Card:
    return Card(kind, {"tokenizer": tokenizer, "lora": adapter.config, "stops": settings.eos_token_id})


def _write_tokenizer(provenance: Provenance, directory: Path) -> Any:
    tokenizer = models.load_tokenizer(provenance.model)
    tokenizer.save_pretrained(directory)
    return tokenizer
