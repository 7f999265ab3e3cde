"""The exported student: others load it without ssb and get the same answers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import ssb_core
from ssb_core import models, problems, prompts, verify
from ssb_core.config import Decoding, RunConfig
from ssb_core.engines import SampleRequest, open_sampler
from ssb_core.errors import StoreError
from ssb_core.export import MARKER, Kind, cards, export, student
from ssb_core.progress import Progress
from ssb_core.records import Problem
from ssb_core.results.provenance import Provenance
from ssb_core.results.student import find_adapter
from ssb_core.runs import Run
from tests.support.cards import card, code
from tests.support.runs import copied

GREEDY = Decoding(temperature=0, max_new_tokens=240)

ANSWER = """
import json, os, sys
turns = json.loads(sys.argv[1])
inputs = tokenizer.apply_chat_template(
    turns, add_generation_prompt=True, return_tensors="pt", return_dict=True, padding=True
)
def answers(**sampling):
    out = model.generate(**inputs, max_new_tokens=240, **sampling)
    return tokenizer.batch_decode(out[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)
torch.manual_seed(0)
found = {"greedy": answers(do_sample=False), "sampled": answers()}
loaded = sorted({"peft", "ssb_core", "tasks", "flows"} & {name.split(".")[0] for name in sys.modules})
print("FOUND", json.dumps(found | {"loaded": loaded}))
"""


@pytest.fixture(scope="module")
def nano_problems(quick_run: Run) -> tuple[Problem, ...]:
    return problems.load_problems(Provenance.load(quick_run).config.evaluate.benchmarks[0])


@pytest.fixture(scope="module")
def ours(quick_run: Run, nano_problems: tuple[Problem, ...]) -> list[str]:
    """Greedy answers of the run's own student through our own engine."""
    provenance = Provenance.load(quick_run)
    adapter = find_adapter(quick_run).weights.parent
    with open_sampler(provenance.model, provenance.config.execution, adapter) as sampler:
        requests = [SampleRequest(sampler.encode(prompts.tutor_messages(p.question)), 0) for p in nano_problems]
        ((_, completions),) = sampler.sample([("all", requests)], GREEDY, Progress())
    return [c.text for c in completions]


def accuracy(texts: list[str], nano_problems: tuple[Problem, ...]) -> float:
    with verify.Verifier("boxed") as verifier:
        verdicts = list(verifier.grade((t, nano_problems[i % len(nano_problems)].answer) for i, t in enumerate(texts)))
    return sum(v.status == "correct" for v in verdicts) / len(verdicts)


@pytest.fixture(scope="module")
def theirs(exports: dict[Kind, Path], nano_problems: tuple[Problem, ...]) -> dict[Kind, dict[str, list[str]]]:
    """Answers of a fresh, offline process that ran the code of both cards, each in its directory."""
    merged, adapter = (code(card(exports[kind])[1])[0] + ANSWER for kind in ("merged", "adapter"))
    script = f"{merged}\nos.chdir({str(exports['adapter'])!r})\n{adapter}"
    turns = json.dumps([prompts.tutor_messages(p.question) for p in nano_problems])
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SSB_"))} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-I", "-c", script, turns]
    done = subprocess.run(command, cwd=exports["merged"], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in re.findall("^FOUND (.*)$", done.stdout, re.MULTILINE)]
    return dict(zip(("merged", "adapter"), found, strict=True))


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_the_cards_code_loads_the_student_and_reproduces_its_accuracy(
    kind: Kind,
    theirs: dict[Kind, dict[str, list[str]]],
    quick_run: Run,
    nano_problems: tuple[Problem, ...],
    ours: list[str],
) -> None:
    found = theirs[kind]
    assert found["loaded"] == (["peft"] if kind == "adapter" else [])
    same = sum(a == b for a, b in zip(found["greedy"], ours, strict=True)) / len(ours)
    assert same == 1 if kind == "adapter" else same >= 0.99
    assert accuracy(found["greedy"], nano_problems) == pytest.approx(accuracy(ours, nano_problems), abs=1 - same)
    stated = quick_run.load_summary()["benchmarks"]["nano-test"]["models"]["ssb"]["accuracy"]
    assert accuracy(found["sampled"], nano_problems) == pytest.approx(
        stated, abs=0.2
    )  # fewer and other draws: 2.5 errors


def test_the_adapter_is_what_peft_and_vllm_take(exports: dict[Kind, Path], quick_run: Run) -> None:
    config = json.loads((exports["adapter"] / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(models.NANO.resolve()) and config["revision"] is None
    assert (config["r"], config["bias"], config["modules_to_save"], config["use_dora"]) == (32, "none", None, False)
    assert config["target_modules"] == "down_proj gate_proj k_proj o_proj q_proj up_proj v_proj".split()
    weights = load_file(exports["adapter"] / "adapter_model.safetensors")
    assert len(weights) == 4 * 7 * 2
    assert all(re.fullmatch(r"base_model\.model\.model\.layers\..*\.lora_[AB]\.weight", name) for name in weights)
    assert {t.dtype for t in weights.values()} == {torch.float32}


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_tokenizer_template_and_generation_settings_are_those_of_the_run(
    kind: Kind, exports: dict[Kind, Path], nano: models.ResolvedModel
) -> None:
    from transformers import AutoTokenizer, GenerationConfig

    messages = prompts.tutor_messages(cards.QUESTION)
    own = models.load_tokenizer(nano)
    assert prompts.encode(AutoTokenizer.from_pretrained(exports[kind]), messages) == prompts.encode(own, messages)
    settings = GenerationConfig.from_pretrained(exports[kind])
    assert settings.eos_token_id == list(models.end_of_turn(nano))
    assert (settings.do_sample, settings.temperature, settings.top_k) == (True, 0.8, 50)
    assert settings.repetition_penalty is None
    names = {p.name for p in exports[kind].iterdir()}
    assert {"chat_template.jinja", "tokenizer.json", "README.md", MARKER} <= names
    assert not any(name.endswith((".bin", ".pt")) for name in names)
    readable = {p.stat().st_mode & 0o777 for p in exports[kind].iterdir()}
    assert readable == {(exports[kind] / "README.md").stat().st_mode & 0o777}


def test_merged_weights_are_rounded_once(quick_run: Run, tmp_path: Path) -> None:
    provenance = Provenance.load(quick_run)
    made = {}
    for dtype in ("float32", "bfloat16"):
        (tmp_path / dtype).mkdir()
        other = replace(provenance, model=provenance.model.model_copy(update={"dtype": dtype}))
        student.write_merged(other, find_adapter(quick_run), tmp_path / dtype)
        made[dtype] = load_file(tmp_path / dtype / "model.safetensors")
    base = load_file(models.NANO / "model.safetensors")
    assert made["float32"].keys() == made["bfloat16"].keys() == base.keys()
    assert not torch.equal(
        made["float32"]["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"]
    )
    for name, exact in made["float32"].items():
        assert torch.equal(exact.bfloat16(), made["bfloat16"][name]), name
    assert json.loads((tmp_path / "bfloat16" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_merged_student_has_the_numbers_of_the_runs_own_evaluation(
    exports: dict[Kind, Path], quick_run: Run, small: RunConfig, tmp_path: Path
) -> None:
    folders = {"store": tmp_path / "store", "directory": tmp_path / "runs" / "merged"}
    merged = ssb_core.evaluate(str(exports["merged"]), config=small, progress=Progress(), **folders)
    theirs, ours = (r.load_summary()["benchmarks"]["nano-test"]["models"] for r in (merged, quick_run))
    assert theirs["base"] == ours["ssb"]


def test_damaged_weights_are_never_exported(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    weights = find_adapter(run).weights
    spoilt = bytearray(weights.read_bytes())
    spoilt[-1] ^= 1
    weights.write_bytes(spoilt)
    with pytest.raises(StoreError, match="checksum is not the recorded one"):
        export(run, {"adapter": tmp_path / "a"})
