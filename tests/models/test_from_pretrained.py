"""Code that a model brings along is never run."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

from ssb_core import models
from ssb_core.errors import ConfigError
from tests.support.families import CAPS


def brings_code(directory: Path) -> models.ResolvedModel:
    """A model with classes of its own for configuration, tokenizer and weights; running their file makes a marker."""
    classes = "Config = Model = Tokenizer = None"
    (directory / "mine.py").write_text(f"open({str(directory / 'marker')!r}, 'w')\n{classes}\n")
    config = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    (directory / "config.json").write_text(json.dumps({"model_type": "mine", "auto_map": config}))
    tokens = {"tokenizer_class": "Mine", "auto_map": {"AutoTokenizer": ["mine.Tokenizer", None]}}
    (directory / "tokenizer_config.json").write_text(json.dumps(tokens))
    (directory / "model.safetensors").touch()
    return models.ResolvedModel(source=str(directory), revision=None, identity="mine", dtype="float32")


@pytest.mark.parametrize(
    "use",
    [
        models.load_config,
        models.load_tokenizer,
        lambda model: models.load_model(model, "cpu"),
        lambda model: models.check(model, "cpu", CAPS),
        lambda model: models.empty(foreign(model.source)),
    ],
    ids=["config", "tokenizer", "model", "check", "empty"],
)
def test_code_that_a_model_brings_along_is_not_run_whatever_the_terminal_answers(
    use: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda question: "y")
    with pytest.raises(ConfigError, match=r"brings code of its own.*are not run\n  remedy: choose a model"):
        use(brings_code(tmp_path))
    assert not (tmp_path / "marker").exists()


def foreign(directory: str) -> Any:
    from transformers import T5Config

    settings: Any = {"name_or_path": directory, "auto_map": {"AutoModelForCausalLM": "mine.Model"}}
    return T5Config(**settings)


def test_everything_is_loaded_through_the_function_that_runs_no_code() -> None:
    trees = [ast.parse(p.read_text()) for p in Path(models.__file__).parents[1].rglob("*.py")]
    calls = [ast.unparse(node) for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert len(calls) > 1000 and not [call for call in calls if re.match(r"Auto\w+\.from_\w+\(", call)]
