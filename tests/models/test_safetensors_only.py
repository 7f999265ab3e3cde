"""Only whole safetensors files are read, and nothing is ever unpickled."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from ssb_core import models
from ssb_core.config import ModelConfig
from ssb_core.errors import ConfigError, StoreError
from tests.support.families import CAPS


def test_weights_other_than_safetensors_are_refused(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(ConfigError, match=r"no \.safetensors weights"):
        models.resolve(ModelConfig(source=str(tmp_path)), tmp_path)


class Poison:
    """An object that creates a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.file), "w")


NO_MODEL: dict[str, tuple[dict[str, Any], str]] = {
    "a pickle instead": ({"model.safetensors": None}, "model.safetensors is missing"),
    "other safetensors": ({"model.safetensors": None, "other.safetensors": b""}, "model.safetensors is missing"),
    "a pickle in disguise": ({"model.safetensors": "poison"}, "model.safetensors is not a complete safetensors file"),
    "an empty file": ({"model.safetensors": b""}, "model.safetensors is not a complete safetensors file"),
    "a cut file": ({"model.safetensors": "cut"}, "model.safetensors is not a complete safetensors file"),
    "an index of pickles": ({"index": {"weight_map": {"a": "pytorch_model.bin"}}}, "names 'pytorch_model.bin'; only"),
    "an index to elsewhere": ({"index": {"weight_map": {"a": "../x.safetensors"}}}, "names '../x.safetensors'; only"),
    "an index to nothing": ({"index": {"weight_map": {"a": "b.safetensors"}}}, "b.safetensors is missing"),
    "an index of numbers": ({"index": {"weight_map": {"a": 1}}}, "is not an index of weights"),
    "no index": ({"index": [1]}, "is not an index of weights"),
    "a link to nothing": ({"x.json": "link"}, "x.json is not a file, nor a link to one"),
    "a configuration without end": ({"config.json": b"[" * 100_000}, "cannot be used: maximum recursion"),
    "a template that reads files": ({"chat_template.jinja": b"{% include '/etc/passwd' %}"}, "cannot be used"),
    "a template that climbs": ({"chat_template.jinja": b"{{ ''.__class__.__mro__[1].__subclasses__()[0] }}"}, "unsafe"),
    "a model without end": ({"config.json": {"hidden_size": 10**15}}, "cannot be used"),
    "an empty tokenizer": ({"tokenizer.json": b"{}"}, "cannot be used"),
}


@pytest.mark.parametrize("name", NO_MODEL)
def test_a_directory_that_is_no_model_is_refused_before_any_work_and_not_unpickled(
    name: str, nano: models.ResolvedModel, tmp_path: Path
) -> None:
    directory, created = shutil.copytree(nano.source, tmp_path / "model"), tmp_path / "created"
    poison = pickle.dumps(Poison(created))
    (directory / "pytorch_model.bin").write_bytes(poison)
    changes, message = NO_MODEL[name]
    for file, content in changes.items():
        path = directory / ("model.safetensors.index.json" if file == "index" else file)
        old = path.read_bytes() if path.exists() else b"{}"
        path.unlink(missing_ok=True)
        if content == "link":
            path.symlink_to(tmp_path / "nowhere")
        elif isinstance(content, dict | list):
            path.write_text(json.dumps(json.loads(old) | content if isinstance(content, dict) else content))
        elif content is not None:
            path.write_bytes({"poison": poison, "cut": old[:5000]}[content] if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as refused:
        model = models.resolve(ModelConfig(source=str(directory), dtype="float32"), tmp_path)
        models.check(model, "cpu", CAPS)
        models.check_weights(model)
    assert message in str(refused.value) and not created.exists()


def test_a_pickle_beside_the_weights_and_links_to_them_do_no_harm(nano: models.ResolvedModel, tmp_path: Path) -> None:
    real = shutil.copytree(nano.source, tmp_path / "real")
    linked = tmp_path / "model"
    linked.mkdir()
    for file in real.iterdir():
        (linked / file.name).symlink_to(file)
    (linked / "pytorch_model.bin").write_bytes(pickle.dumps(Poison(tmp_path / "created")))
    model = models.resolve(ModelConfig(source=str(linked), dtype="float32"), tmp_path)
    assert model.identity == nano.identity
    models.check(model, "cpu", CAPS)
    assert models.load_model(model, "cpu").dtype == torch.float32 and not (tmp_path / "created").exists()


def test_a_student_is_never_unpickled(nano: models.ResolvedModel, tmp_path: Path) -> None:
    """peft would read the pickle if there are no safetensors. If there are both, the pickle is not read."""
    from peft import LoraConfig, get_peft_model

    student: Any = get_peft_model(models.load_model(nano, "cpu"), LoraConfig(r=2, target_modules=["q_proj"]))
    student.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.bin").write_bytes(pickle.dumps(Poison(tmp_path / "created")))
    assert models.load_model(nano, "cpu", tmp_path / "adapter").peft_config
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    with pytest.raises(StoreError, match=r"has no adapter_model\.safetensors: only safetensors are read"):
        models.load_model(nano, "cpu", tmp_path / "adapter")
    assert not (tmp_path / "created").exists()
