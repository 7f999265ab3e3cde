"""Every wrong configuration is refused in plain words, with its place, its field, what that accepts, and a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssb_core.config import document, presets, schema
from ssb_core.errors import ConfigError

JARGON = re.compile(
    r"validation error|input should|type=|pydantic|value_error|extra_forbidden|[a-z]+_(?:type|parsing)\b|"
    r"instance of|dictionary|tuple|literal|Errno|traceback|None|token|while (?:parsing|scanning)",
    re.IGNORECASE,
)
ODD = ("x", "", -1, 1.5, 10**30, True, None, [], ["x"], {"x": 1}, float("nan"), "9" * 5000)
QUICKSTART = Path(presets.__file__).parent / "presets" / "quickstart.yaml"
FEW_SHOT = "prompts.few_shot=[{question: q, solution: s}]"
EXPLAINED = {"token", "tokens"}  # words of descriptions


def refusal(file: Path | None = None, *overrides: str) -> str:
    with pytest.raises(ConfigError) as refused:
        presets.load_config(None if file else "quickstart", file, overrides)
    return str(refused.value)


def wrong_values() -> Iterator[tuple[str, Any]]:
    """Values that the schema refuses, for every field."""
    import jsonschema

    for path in schema.field_paths():
        node = schema.find([int(key) if key.isdecimal() else key for key in path.split(".")])[1]
        check = jsonschema.Draft7Validator({**node, "$defs": schema.load()["$defs"]})
        yield from ((path, value) for value in ODD if not check.is_valid(value))


def test_every_wrong_value_of_every_field_is_refused_in_plain_words_that_name_the_field() -> None:
    refused, taken = 0, []
    base = document.override(document.parse("preset quickstart", QUICKSTART.read_text()), FEW_SHOT)
    for path, value in wrong_values():
        written = yaml.safe_dump([value], default_flow_style=True, width=10**6).strip()[1:-1]
        try:
            presets.validate(document.override(base, f"{path}={written}"))
            taken.append((path, value))
        except ConfigError as e:
            message = str(e)
            assert path in message and "remedy" in message and len(message) < 2000, message
            assert set(m.lower() for m in JARGON.findall(message)) <= EXPLAINED, message
            refused += 1
    assert refused > 800
    assert taken == []


@pytest.mark.parametrize(
    ("written", "refused"),
    [
        ("rollouts:\n\tsamples: 4", "line 2: a tab is not allowed here\n  remedy: indent with spaces"),
        ("a:\n  b: 1\n c: 2", "line 3: it does not fit the lines above it\n  remedy: indent the fields"),
        ("a: 1\n b: 2", "line 2: a colon is not allowed here"),
        ("a: b: c\n", "a colon is not allowed here"),
        ("a: 1\nb\nc: 1", "line 3: a field has no colon"),
        ("seeds: 1\nseeds: 3", "line 2: the field 'seeds' is written twice"),
        ("a: {b: 1, b: 2}\n", "the field 'b' is written twice"),
        ("a: 1\nb: [1\n\n", "line 2: a bracket is not closed"),
        ("a: [1 2: 3}\n", "a comma or a closing bracket is missing"),
        ("a: ]\n", "no value can begin here"),
        ("a: 1\nb: 'x\n", "line 2: a quote is not closed"),
        ('a: "\\q"', "unknown escape character 'q'"),
        ("a: @x", "character '@' cannot begin a value\n  remedy: put the text in quotes"),
        ("%x", "a line cannot begin with %"),
        ("a: *b", "undefined alias 'b'"),
        ("a: &a [*a]", "an alias (*name) refers to the value that contains it"),
        ("<<: 3", "<< must be followed by an alias of a section"),
        ("? [a]\n: 1", "a list or a section is not the name of a field"),
        ("a: !!python/object/apply:os.system [id]", "a tag (a word that begins with !) is not allowed"),
        ("a: 1\nb: !!int x", "line 2: the value does not fit its tag !!int"),
        ("a: !!binary ü", "the value does not fit its tag !!binary"),
        ("a: 1\n---\nb: 2", "line 2: a second document begins here"),
        ("a: 1\nb: \x07", "line 2: the control character '\\x07' is not allowed"),
        ("a: " + "9" * 5000, "the number has too many digits"),
        ("a: " + "[" * 1000, "its brackets are nested too deeply"),
        ("a: >x\n", "it is not valid YAML"),
        ("", "is empty\n  remedy: ssb config prints a whole configuration"),
        ("# only a comment", "is empty"),
        ("- model", "must be a mapping of sections (model, problems, ...), but it is a list"),
        ("model", "but it is a single value"),
        ("x" * 1_000_001, "has more than 1,000,000 bytes"),
        (b"model: \xff", "line 1: it is not text in UTF-8"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_a_file_that_is_no_configuration_is_refused_with_its_line(
    written: str | bytes, refused: str, tmp_path: Path
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(written if isinstance(written, bytes) else written.encode())
    message = refusal(file)
    assert refused in message and "mine.yaml" in message and "remedy: " in message
    assert not re.search(r"pydantic|while (?:parsing|scanning)|tag:yaml|\^", message)


def test_wrong_fields_of_a_file_are_listed_with_their_lines_and_what_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model: nano\nproblems:\n  source: nano-train\n  limit: many\nrollouts:\n  sample: 8\nevaluate: {}\n"
    )
    assert refusal(file).splitlines() == [
        f"configuration {file} cannot be used:",
        "  line 1, model: 'nano' is not a section with fields (source, revision, chat_template, dtype); "
        "did you mean {source: nano}?",
        "  line 4, problems.limit: 'many' is not an integer of at least 1, or null",
        "  line 6, rollouts.sample: no such field; did you mean rollouts.samples?",
        "  line 7, evaluate.benchmarks: required, but missing; it is a list of at least one of: a section with fields "
        "(source, subset, split, id, question, answer, ...)",
        "  remedy: correct what is named; ssb config prints every field with its meaning and its values",
    ]


@pytest.mark.parametrize(
    ("override", "refused"),
    [
        ("rollouts.sample=8", "--set rollouts.sample: no such field; did you mean rollouts.samples?"),
        ("rollout.samples=8", "did you mean rollouts.samples?"),
        (
            "temperature=1",
            "did you mean rollouts.temperature, teach.temperature, distill.temperature, grpo.temperature or "
            "evaluate.temperature?",
        ),
        ("lerning_rate=1", "did you mean distill.learning_rate or grpo.learning_rate?"),
        ("rollouts.nonsense=1", "no such field; rollouts has temperature, top_k, max_new_tokens, seed, samples"),
        ("nonsense=1", "no such field; a configuration has model, problems, "),
        ("execution.engine=vlm", "'vlm' is not auto, transformers, vllm or openai; did you mean 'vllm'?"),
        ("execution.stage_timeout_hours={rollout: 3}", "did you mean 'rollouts'?"),
        ("baselines=grpo", "'grpo' is not a list of: grpo, sft, rft or ssb-no-wrong; a list is written in brackets"),
        ("model.revision=1234", "1234 is not text, or null; put it in quotes"),
        ("execution.server.url=ftp://me:pw@x", "'ftp://...@x' is not text like http://127.0.0.1:8000/v1. URL of"),
        ("rollouts.temperature=.inf", "inf is not a finite number"),
        ("rollouts.samples=[", "--set rollouts.samples=[: a bracket is not closed"),
    ],
)
def test_a_wrong_override_says_what_is_accepted_or_was_meant(override: str, refused: str) -> None:
    assert refused in refusal(None, override)


@pytest.mark.parametrize(
    ("preset", "file", "refused"),
    [
        (
            "quickstrat",
            None,
            "there is no preset 'quickstrat'; choose one of: paper, quickstart, smollm2; did you mean",
        ),
        ("mine.yaml", None, "a file of your own is given with --config"),
        (None, "quickstart", "did you mean --preset?"),
        (None, "mnie.yaml", "there is no such file; did you mean 'mine.yaml'?\n  remedy: ssb config > "),
        (None, ".", "it is a directory\n  remedy: name a YAML file in it"),
    ],
)
def test_a_wrong_name_of_a_preset_or_file_says_which_is_meant(
    preset: str | None, file: str | None, refused: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").touch()
    with pytest.raises(ConfigError) as error:
        presets.load_config(preset, Path(file) if file else None)
    assert refused in str(error.value)


def test_an_override_changes_one_of_the_sections_that_share_an_alias(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model: {source: nano}\nproblems: {source: nano-train}\nrollouts: &r {temperature: 0.5}\nteach: *r\n"
        "evaluate: {benchmarks: [{name: a, source: nano-test, split: no, revised: 1}]}\n".replace(", revised: 1", "")
    )
    config = presets.load_config(file=file, overrides=["rollouts.temperature=0.9"])
    assert (config.rollouts.temperature, config.teach.temperature) == (0.9, 0.5)
    assert config.evaluate.benchmarks[0].split == "no", "as in YAML 1.2, which editors read"
