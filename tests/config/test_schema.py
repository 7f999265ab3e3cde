"""The JSON Schema: current, strict, and one with what a configuration accepts."""

from __future__ import annotations

import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from ssb_core.config import presets, schema, words

FOLDER = Path(str(resources.files("ssb_core.config")))
PRESETS = sorted((FOLDER / "presets").iterdir())


def test_the_file_is_current() -> None:
    path = FOLDER / "schema.json"
    assert path.read_text(encoding="utf-8") == schema.text(), f"{path} is stale; remedy: make reference"


def test_presets_pass_the_schema_that_their_first_line_names() -> None:
    for path in PRESETS:
        line = path.read_text(encoding="utf-8").splitlines()[0]
        assert (path.parent / line.removeprefix("# yaml-language-server: $schema=")).resolve() == FOLDER / "schema.json"
    command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(FOLDER / "schema.json")]
    done = subprocess.run([*command, *map(str, PRESETS)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_every_section_refuses_unknown_fields_and_every_field_says_what_it_accepts() -> None:
    jsonschema.Draft7Validator.check_schema(schema.load())
    for path in schema.field_paths():
        known, node = schema.find([int(key) if key.isdecimal() else key for key in path.split(".")])
        assert ".".join(map(str, known)) == path and node["description"] and words.in_words(node)
        assert schema.resolve(node).get("additionalProperties", False) is not True
    sections = [s for s in schema.load()["$defs"].values() if "properties" in s]
    assert len(sections) == 15 and all(section["additionalProperties"] is False for section in sections)


@pytest.mark.parametrize(
    ("path", "accepted"),
    [
        ("rollouts.samples", "an integer from 2 to 10,000"),
        ("rollouts.seed", "an integer from 0 to 4,294,967,295"),
        ("problems.limit", "an integer of at least 1, or null"),
        ("distill.beta", "a number above 0 and below 1"),
        ("execution.vllm.gpu_memory_utilization", "a number above 0 and at most 1"),
        ("execution.engine", "auto, transformers, vllm or openai"),
        ("execution.train_endpoint", "text like 10.0.0.1:29500, or null"),
        ("model.source", "text that is not empty"),
        ("baselines", "a list of: grpo, sft, rft or ssb-no-wrong"),
        ("select", "a section with fields (seed)"),
        ("problems", "a section with fields (source, subset, split, id, question, answer, ...)"),
    ],
)
def test_accepted_values_are_said_in_words(path: str, accepted: str) -> None:
    assert words.in_words(schema.find(path.split("."))[1]) == accepted


@pytest.mark.parametrize(
    ("path", "value"),
    [("rollouts.samples", 1), ("distill.beta", 1), ("baselines", ["ppo"]), ("evaluate.benchmarks", []), ("seed", 3)],
)
def test_an_editor_refuses_what_a_run_refuses(path: str, value: Any) -> None:
    tree = presets.load_config("quickstart").model_dump(mode="json")
    jsonschema.validate(tree, schema.load())
    *parents, last = path.split(".")
    inner = tree
    for key in parents:
        inner = inner[key]
    inner[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, schema.load())
