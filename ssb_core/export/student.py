"""The student as a PEFT adapter or as merged weights, with tokenizer, chat template and generation settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from .. import models
from ..models.generation import generation_config
from ..results.provenance import Provenance
from ..results.student import AdapterFiles
from .cards import Card

WEIGHTS = "adapter_model.safetensors"
SHARD_SIZE = "5GB"


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
