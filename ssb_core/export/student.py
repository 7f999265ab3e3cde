"""The student as a PEFT adapter or as merged weights, each with tokenizer, chat template and generation settings."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import models
from ..errors import ConfigError, StoreError
from ..results.provenance import Origin
from ..runs import Run
from ..stages.directory import weights
from ..store import sha256_file
from .cards import Card

WEIGHTS = "adapter_model.safetensors"
SHARD_SIZE = "5GB"


@dataclass(frozen=True, slots=True)
class Student:
    """A run's trained adapter: the file of its weights, and its PEFT configuration."""

    weights: Path
    config: dict[str, Any]


def find(run: Run) -> Student:
    """The student of a run.

    Raises:
        ConfigError: the run stopped before there was one.
        StoreError: its weights are damaged.
    """
    manifests = run.manifests("distill")
    if not manifests:
        last = list(run.load_summary()["stages"])[-1]
        raise ConfigError(
            f"run {run.name} has no student: it ended after {last}\n  remedy: finish it "
            f"with `ssb run --config {run.directory / 'config.yaml'} --name {run.name}`, or export its --dataset alone"
        )
    entry = weights(manifests[0])
    path = run.store.path(manifests[0], entry)
    if sha256_file(path) != entry.sha256:
        raise StoreError(
            f"{path} is damaged: its checksum is not the one that was noted\n  remedy: make it again with "
            f"`ssb run --config {run.directory / 'config.yaml'} --name {run.name} --force distill`"
        )
    return Student(path, json.loads((path.parent / "adapter_config.json").read_text()))


def write_adapter(origin: Origin, student: Student, directory: Path) -> Card:
    """The adapter as `peft` and vLLM read it, naming its base so that others find it."""
    shutil.copyfile(student.weights, directory / WEIGHTS)
    named = {"base_model_name_or_path": origin.model.source, "revision": origin.model.revision}
    config = json.dumps(student.config | named, indent=2, sort_keys=True)
    (directory / "adapter_config.json").write_text(config + "\n", encoding="utf-8")
    tokenizer = _write_tokenizer(origin, directory)
    settings = _generation(origin, tokenizer)
    settings.save_pretrained(directory)
    return _card("adapter", student, tokenizer, settings)


def write_merged(origin: Origin, student: Student, directory: Path) -> Card:
    """The base's weights with the adapter added in float32, rounded once to the dtype that the run computed in."""
    import torch

    merged = models.load_merged(origin.model, student.weights.parent).to(getattr(torch, origin.model.dtype))
    tokenizer = _write_tokenizer(origin, directory)
    merged.generation_config = _generation(origin, tokenizer)
    merged.save_pretrained(directory, max_shard_size=SHARD_SIZE)
    return _card("merged", student, tokenizer, merged.generation_config)


def _card(kind: str, student: Student, tokenizer: Any, settings: Any) -> Card:
    return Card(kind, {"tokenizer": tokenizer, "lora": student.config, "stops": settings.eos_token_id})


def _write_tokenizer(origin: Origin, directory: Path) -> Any:
    tokenizer = models.load_tokenizer(origin.model)
    tokenizer.save_pretrained(directory)
    return tokenizer


def _generation(origin: Origin, tokenizer: Any) -> Any:
    """Sampling as it was evaluated: every token that ends a turn, and none of the penalties a base may suggest."""
    from transformers import GenerationConfig

    decoding = origin.config.evaluate
    drawn: dict[str, Any] = {"do_sample": False}
    if decoding.temperature:
        drawn = {"do_sample": True, "temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": 1.0}
    stops = list(models.end_of_turn(origin.model, tokenizer))
    return GenerationConfig(eos_token_id=stops, pad_token_id=tokenizer.pad_token_id, **drawn)
