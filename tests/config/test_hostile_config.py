"""Hostile configurations: each one is used or refused with one message, never with a traceback."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flows.cli.main import app
from ssb_core import models
from ssb_core.config import ModelConfig, ProblemsConfig, RunConfig, presets, schema
from ssb_core.errors import ConfigError
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import plan
from ssb_core.store import Store

LAUGHS = "&a [ha, ha, ha]" + "".join(f", &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise("abcdefghi"))
VALUES = (
    *("null", "true", "-1", "0", "1.5", "1e30", "1000000000000000000", "9" * 30, "9" * 5000, "0x" + "f" * 4000, ".nan"),
    *(
        ".inf",
        "-.inf",
        "[]",
        "{}",
        "[1, 2]",
        "{a: 1}",
        "{1: 2}",
        "''",
        "many",
        '"\\0"',
        '"\\ud800"',
        '"\\e[31m"',
        "a\nb",
    ),
    *("../x", "/", "~nobody/x", "$HOME", "$SSB_NOT_SET", "x" * 300, "x" * 5000, "<script>", "2024-01-01", "2024-13-45"),
    *("&a [*a]", "&a {b: *a}", "*missing", f"[{LAUGHS}]", "[" * 300, "{" * 300, "[" * 300 + "]" * 300, "a: b: c", "@"),
    *(
        "!!python/object/apply:os.system [id]",
        "!!python/name:os.system",
        "!!binary aGk=",
        "!!bool x",
        "!!int x",
        "1:30",
    ),
    *("!!float x", "!!timestamp x", "!!set {a}", "!!omap [a: 1]", "!mine x", "https://user:pw@host/v1", "file:///etc"),
)


PLACES = (
    *(path for path in schema.field_paths() if not path.startswith("prompts.few_shot.0")),
    *(
        "",
        "x",
        "a.b",
        ".....",
        "model.source.x",
        f"evaluate.benchmarks.{'9' * 5000}.limit",
    ),
    *("problems.__class__", "0", "evaluate.benchmarks"),
)


def load_or_refuse(overrides: list[str]) -> RunConfig | None:
    """The configuration, or None if it is refused. The message of a refusal is printable and names the field."""
    try:
        return presets.load_config("quickstart", overrides=overrides)
    except ConfigError as refused:
        message = str(refused)
        assert message.encode() and len(message) < 5000
        assert any(place.split("=")[0].split(".")[0] in message for place in overrides), message[:500]
        return None


def test_every_field_takes_or_refuses_any_value() -> None:
    """Every value in a tenth of the fields. A configuration that is taken can be written and read back."""
    draw, tried, taken = random.Random(8), 0, []
    for value in VALUES:
        for place in draw.sample(PLACES, len(PLACES) // 10):
            tried += 1
            if config := load_or_refuse([f"{place}={value}"]):
                assert RunConfig.model_validate_json(config.model_dump_json()) == config
                taken.append(config)
    assert tried > 600 and len(taken) > 20


@settings(max_examples=150)
@given(st.lists(st.tuples(st.sampled_from(PLACES), st.sampled_from(VALUES) | st.text(max_size=20)), max_size=3))
@example([("evaluate.benchmarks", f"[{LAUGHS}]")])
@example([("rollouts.samples", "0x" + "f" * 4000)])
def test_no_override_ends_in_a_traceback(overrides: list[tuple[str, str]]) -> None:
    try:
        presets.load_config("quickstart", overrides=[f"{place}={value}" for place, value in overrides])
    except ConfigError as refused:
        assert str(refused).encode()


trees: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(RunConfig.model_fields)), inner),
    max_leaves=12,
)


@settings(max_examples=100)
@given(tree=trees, text=st.text(max_size=40), whole=st.booleans())
def test_no_file_ends_in_a_traceback(
    tree: Any, text: str, whole: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    import yaml

    file = tmp_path_factory.getbasetemp() / "fuzzed.yaml"
    file.write_text(yaml.safe_dump(tree) if whole else text, encoding="utf-8", errors="replace")
    with pytest.raises(ConfigError) as refused:  # none is complete
        presets.load_config(file=file)
    assert "fuzzed.yaml" in str(refused.value) and len(str(refused.value)) < 5000


def test_a_billion_laughs_in_yaml_are_refused_briefly(tmp_path: Path) -> None:
    file = tmp_path / "laughs.yaml"
    file.write_text(f"model: [{LAUGHS}]\nproblems: {{source: nano-train, id: *i}}\nevaluate: {{benchmarks: *i}}\n")
    with pytest.raises(ConfigError, match=r"line 1, model: .* is not a section") as refused:
        presets.load_config(file=file)
    assert len(str(refused.value)) < 3000


NOWHERE = (
    *("../x", "/", "''", '"\\0"', "x" * 300, "x" * 5000, "~nobody/x", "a/b/c", "..", "x.jsonl/y", "'a b'", "/dev/null"),
    *("/proc/self/environ", "x.gguf", "../../x.gguf", "os/path.gguf", "http://127.0.0.1:9/x"),
)
LARGE = "1000000000000000000"
PLANNED = (
    *(f"{name}={LARGE}" for name in ("problems.limit", "problems.skip", "execution.shard_size", "distill.lora_rank")),
    *("problems.shuffle_seed=-5", "rounds=1000", "seeds=1000", "rounds=1001", "rollouts.samples=10000"),
    *("execution.batch_size=9999999999", "rollouts.samples=10001", "problems.limit=" + "9" * 30),
    *(f"model.{name}={value}" for name in ("source", "chat_template") for value in NOWHERE),
    *(f"{name}.source={value}" for name in ("problems", "evaluate.benchmarks.0") for value in NOWHERE),
)


def test_a_valid_configuration_is_planned_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    small = ["problems.limit=8", "evaluate.benchmarks=[{name: a, source: nano-test, limit: 4}]"]
    planned = 0
    for override in PLANNED:
        try:
            config = presets.load_config("quickstart", overrides=[*small, override])
            planned += bool(plan(Pipeline.of(config, tmp_path), Store(tmp_path)))
        except ConfigError as refused:
            assert str(refused).encode()
    assert planned > 6 and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["plan", "parameters"])
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--set", "model=!!python/object/apply:os.system [id]"], "model"),
        (["--set", f"evaluate.benchmarks=[{LAUGHS}]"], "evaluate.benchmarks"),
        (["--set", "evaluate.benchmarks.0.name=../x"], "evaluate.benchmarks.0.name"),
        (["--set", 'evaluate.benchmarks.0.name="nano-test\\n"'], "evaluate.benchmarks.0.name"),
        (["--set", "rollouts.samples=0x" + "f" * 4000], "rollouts.samples"),
        (["--set", 'problems.question="\\udfff"'], "problems.question: not valid Unicode"),
        (["--preset", "../quickstart"], "no preset '../quickstart'"),
        (["--preset", "quickstart.yaml"], "no preset"),
        (["--config", "/dev/zero/x"], "cannot read the configuration"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_commands_refuse_with_one_message(command: str, arguments: list[str], named: str) -> None:
    given = arguments if arguments[0] in ("--preset", "--config") else ["--preset", "quickstart", *arguments]
    done = CliRunner().invoke(app, [command, *given])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ") and named in done.stderr and "Traceback" not in done.output


@pytest.mark.parametrize("name", ["../x", "..", ".x", "a/b", "a\\b", "a\nb", "\x1b[31m", "\0", "", "x" * 101, "\udc80"])
def test_a_run_name_that_leaves_its_folder_is_refused(name: str) -> None:
    done = CliRunner().invoke(app, ["parameters", "--preset", "quickstart", "--name", name])
    assert done.exit_code == 2 and "a run's name" in done.stderr and "no slashes" in done.stderr


@pytest.mark.parametrize(
    "source", ["x" * 300, "a\0b", "../../etc/passwd", "nano/../..", "-x", "a b", "ü/数学", "a//b", "x" * 300 + ".gguf"]
)
def test_a_source_that_does_not_exist_is_refused_by_name(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConfigError, match=r"model\.source|has no \.safetensors|is not a file"):
        models.resolve(ModelConfig(source=source), Path("store"))
    assert ProblemsConfig(source=source).source == source
