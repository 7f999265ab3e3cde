"""Adapters of the user: their identity is their content, and what does not fit or is no safetensors is refused."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ssb_core import models
from ssb_core.errors import ConfigError
from ssb_core.models import Adapter, check_adapter
from ssb_core.results.student import find_adapter
from ssb_core.runs import Run
from tests.support.adapters import other_adapter

WEIGHTS = "adapter_model.safetensors"
UNREADABLE: dict[str, tuple[dict[str, bytes | str | None], str]] = {
    "a pickle": ({WEIGHTS: "adapter_model.bin"}, "has only adapter_model.bin, a pickle"),
    "no weights": ({WEIGHTS: None}, f"has no {WEIGHTS}"),
    "cut weights": ({WEIGHTS: b"\x08"}, "is not a complete safetensors file"),
    "no configuration": ({"adapter_config.json": None}, "has no adapter_config.json"),
    "a list": ({"adapter_config.json": b"[1]"}, "peft_type is None, and only LORA"),
    "no JSON": ({"adapter_config.json": b"[" * 100_000}, "cannot be read"),
    "another kind": ({"adapter_config.json": b'{"peft_type": "IA3"}'}, "peft_type is 'IA3'"),
    "no rank": ({"adapter_config.json": b'{"peft_type": "LORA"}'}, "r, the rank, is not a number"),
    "an import": (
        {"adapter_config.json": b'{"peft_type": "LORA", "r": 8, "megatron_config": {}}'},
        "megatron_config is not supported",
    ),
}
MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "another rank": ({"r": 16}, r"lora_A.weight has the shape \[32, .*\], and the model needs \[16, "),
    "more layers": ({"target_modules": ["q_proj"]}, "it has weights for .*down_proj"),
    "fewer layers": ({"target_modules": "all-linear", "use_dora": True}, "it lacks weights for .*lora_magnitude"),
    "other layers": ({"target_modules": ["c_attn"]}, "c_attn"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_an_adapter_that_is_not_plain_safetensors_is_refused(name: str, quick_run: Run, tmp_path: Path) -> None:
    changes, message = UNREADABLE[name]
    directory = other_adapter(quick_run, tmp_path / "adapter")
    for file, content in changes.items():
        path = directory / file
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content:
            path.rename(directory / content)
        else:
            path.unlink()
    with pytest.raises(ConfigError, match=f"{re.escape(message)}[^\n]*\n  remedy: "):
        Adapter.find(directory)


@pytest.mark.parametrize("name", MISFITS)
def test_an_adapter_whose_weights_do_not_fit_the_model_is_refused(
    name: str, quick_run: Run, nano: models.ResolvedModel, tmp_path: Path
) -> None:
    fields, message = MISFITS[name]
    adapter = Adapter.find(other_adapter(quick_run, tmp_path / "adapter", **fields))
    with pytest.raises(ConfigError, match=f"does not fit .*{message}[^\n]*\n  remedy: .*--model"):
        check_adapter(adapter, nano)


def test_an_adapter_of_another_hub_model_is_refused_by_name(
    quick_run: Run, nano: models.ResolvedModel, tmp_path: Path
) -> None:
    named = {"base_model_name_or_path": "Qwen/Qwen2.5-3B-Instruct"}
    adapter = Adapter.find(other_adapter(quick_run, tmp_path / "adapter", **named))
    check_adapter(adapter, nano)  # a directory may be a copy of that model, and the weights fit
    other = nano.model_copy(update={"source": "Qwen/Qwen2.5-0.5B-Instruct", "revision": "0" * 40})
    with pytest.raises(ConfigError, match=r"was trained on Qwen/Qwen2.5-3B-Instruct, not on Qwen/Qwen2.5-0.5B"):
        check_adapter(adapter, other)


def test_its_identity_is_its_content_without_the_name_of_its_base(quick_run: Run, tmp_path: Path) -> None:
    own = Adapter.find(find_adapter(quick_run).weights.parent)
    renamed = other_adapter(quick_run, tmp_path / "renamed", 1.0, base_model_name_or_path="elsewhere", revision="main")
    assert Adapter.find(renamed).identity == own.identity and Adapter.find(renamed).base == "elsewhere"
    assert Adapter.find(other_adapter(quick_run, tmp_path / "scaled", 2.0)).identity != own.identity
    assert Adapter.find(other_adapter(quick_run, tmp_path / "alpha", 1.0, lora_alpha=64)).identity != own.identity


def test_an_adapter_that_changes_after_it_was_named_is_refused(quick_run: Run, tmp_path: Path) -> None:
    adapter = Adapter.find(other_adapter(quick_run, tmp_path / "adapter"))
    assert adapter.load() == tmp_path / "adapter"
    config = tmp_path / "adapter" / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"lora_alpha": 1}))
    with pytest.raises(ConfigError, match="has changed since the evaluation began"):
        adapter.load()
