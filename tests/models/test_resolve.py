"""The identity of a model: its files, and the chat template that replaces its own."""

from __future__ import annotations

import shutil
from pathlib import Path

from ssb_core import models
from ssb_core.config import ModelConfig
from tests.support.tiny import CHATML, OPEN


def test_a_given_template_replaces_the_models_own_and_is_part_of_its_recipe(
    nano: models.ResolvedModel, tmp_path: Path
) -> None:
    def resolved(name: str, text: str) -> models.ResolvedModel:
        (tmp_path / name).write_text(text)
        return models.resolve(
            ModelConfig(source="nano", dtype="float32", chat_template=str(tmp_path / name)), Path("store")
        )

    first, renamed, other = resolved("a.jinja", CHATML), resolved("b.jinja", CHATML), resolved("a.jinja", OPEN)
    assert first.recipe == renamed.recipe and first.recipe["identity"] == nano.identity
    assert first.recipe != other.recipe and "chat_template" not in nano.recipe
    assert models.load_tokenizer(first).chat_template == CHATML
    assert models.ResolvedModel.model_validate_json(first.model_dump_json()) == first


def test_a_changed_directory_is_another_model(nano: models.ResolvedModel, tmp_path: Path) -> None:
    shutil.copytree(nano.source, tmp_path / "model")
    config = ModelConfig(source=str(tmp_path / "model"), dtype="float32")
    assert models.resolve(config, tmp_path).identity == nano.identity
    (tmp_path / "model" / "chat_template.jinja").write_text(CHATML)
    assert models.resolve(config, tmp_path).identity != nano.identity
