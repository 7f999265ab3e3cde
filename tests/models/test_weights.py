"""Weights that are missing or have other shapes are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core import models
from ssb_core.errors import ConfigError
from tests.support.families import QWEN25, llama
from tests.support.tiny import save


def test_missing_weights_are_refused_and_not_drawn(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    model = save(tmp_path, QWEN25, llama())
    weights = load_file(tmp_path / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks 1 of its weights, e\.g\. model\.layers\.1\.mlp\.up_proj\.weight"):
        models.load_model(model, "cpu")


def test_weights_of_other_shapes_are_refused_and_not_drawn(tmp_path: Path) -> None:
    model = save(tmp_path, QWEN25, llama())
    llama(intermediate_size=48).save_pretrained(tmp_path)
    with pytest.raises(ConfigError) as refused:
        models.load_model(model, "cpu")
    assert "has 6 weights of other shapes than its configuration says" in str(refused.value)
    assert "layers.0.mlp.down_proj.weight: [16, 32] instead of [16, 48]\n  remedy: " in str(refused.value)
