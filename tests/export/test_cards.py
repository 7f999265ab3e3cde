"""Cards: they say what the summary says, and their code is complete."""

from __future__ import annotations

import ast
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from ssb_core import models
from ssb_core.config import ProblemsConfig, RunConfig
from ssb_core.export import MARKER, Kind, cards, export, student
from ssb_core.report.tables import results_table
from ssb_core.report.verdict import verdict_in_words
from ssb_core.results.provenance import Provenance
from ssb_core.results.student import find_adapter
from ssb_core.runs import Run
from tests.support.cards import card, code, tables
from tests.support.runs import copied, run_stages


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_model_cards_state_the_summarys_numbers_and_no_others(
    kind: Kind, exports: dict[Kind, Path], quick_run: Run
) -> None:
    summary, (_, body) = quick_run.load_summary(), card(exports[kind])
    results, made, facts, sets = tables(body)
    expected = results_table(summary)
    assert results == [list(expected[0]), *(list(row.values()) for row in expected)]
    verdict = verdict_in_words(summary)
    assert [line[2:] for line in body.splitlines() if line.startswith("> ") and line != ">"] == verdict.splitlines()
    claimed = set(re.findall(r"[\d.]+%", body)) - {"95%"}
    assert claimed == set(re.findall(r"[\d.]+%", verdict + str(expected))) - {"95%"}
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


def test_front_matter_is_for_the_hub_and_names_no_license(exports: dict[Kind, Path]) -> None:
    front = {kind: card(directory)[0] for kind, directory in exports.items()}
    assert (front["adapter"]["library_name"], front["merged"]["library_name"]) == ("peft", "transformers")
    assert front["dataset"]["configs"][0]["data_files"] == [{"split": "train", "path": "data/*.parquet"}]
    assert front["dataset"]["size_categories"] == ["n<1K"]
    for kind, matter in front.items():
        assert "license" not in matter and "base_model" not in matter  # a local base is no name for the hub
        assert json.loads((exports[kind] / MARKER).read_text())["kind"] == kind


def test_a_base_from_the_hub_is_named_with_its_commit(
    on_hub: Provenance, nano: models.ResolvedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer = models.load_tokenizer(nano)
    monkeypatch.setattr(models, "load_tokenizer", lambda _: tokenizer)
    monkeypatch.setattr("ssb_core.models.generation.end_of_turn", lambda *_: (2,))
    monkeypatch.setattr(Provenance, "load_training_problems", lambda _: ())
    cards.write(student.write_adapter(on_hub, find_adapter(on_hub.run), tmp_path), on_hub, tmp_path)
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
def test_a_template_that_writes_the_date_gets_the_day_of_the_run(
    kind: str, on_hub: Provenance, nano: models.ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Provenance, "load_training_problems", lambda _: ())
    tokenizer = models.load_tokenizer(nano)
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}\n" + tokenizer.chat_template
    context = {"tokenizer": tokenizer, "lora": find_adapter(on_hub.run).config, "stops": [2]}
    body = cards.render(cards.Card(kind, context), on_hub)
    assert "26 Jul 2024\n<|im_start|>system" in body
    for block in code(body):
        assert "datetime" in {a.name for n in ast.parse(block).body if isinstance(n, ast.Import) for a in n.names}
        assert "day = datetime.date(" in block and "strftime_now" in block


@pytest.mark.parametrize("kind", ["adapter", "merged"])
def test_vllm_code_is_a_script_with_the_students_prompts_and_stops(
    kind: Kind, exports: dict[Kind, Path], nano: models.ResolvedModel
) -> None:
    block = code(card(exports[kind])[1])[1]
    *above, main = ast.parse(block).body
    assert isinstance(main, ast.If) and ast.unparse(main.test) == "__name__ == '__main__'"
    assert "messages" in {n.targets[0].id for n in above if isinstance(n, ast.Assign)}  # type: ignore[attr-defined]
    assert f"stop_token_ids={list(models.end_of_turn(nano))}" in block
    assert ('tokenizer="."' in block) == (kind == "adapter")  # where vLLM would take the base's, and its template


def test_a_16_bit_merged_card_says_that_its_numbers_are_unrounded(
    on_hub: Provenance, nano: models.ResolvedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Provenance, "load_training_problems", lambda _: ())
    context = {"tokenizer": models.load_tokenizer(nano), "lora": find_adapter(on_hub.run).config, "stops": [2]}
    bodies = {kind: cards.render(cards.Card(kind, context), on_hub) for kind in ("adapter", "merged")}
    assert "merged in float32 and the sum was rounded to bfloat16" in bodies["merged"]
    assert "numbers above were measured on the student before that rounding" in bodies["merged"]
    assert "rounded" not in bodies["adapter"] and "rounding" not in bodies["adapter"]
    exact = replace(on_hub, model=on_hub.model.model_copy(update={"dtype": "float32"}))
    assert "before that rounding" not in cards.render(cards.Card("merged", context), exact)


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
    assert str(folder) not in body
    assert "which is a path on the machine that made this adapter. Before you pass the adapter on" in " ".join(
        body.split()
    )
    for directory in targets.values():
        assert f"`{base}`" in card(directory)[1]
        assert json.loads((directory / MARKER).read_text())["model"]["source"] == base


def test_a_problem_file_is_named_without_its_folder() -> None:
    assert cards._source(ProblemsConfig(source="/home/alice/private/mine.jsonl")) == "mine.jsonl"


def test_a_student_that_was_not_evaluated_claims_no_accuracy(quick_run: Run, small: RunConfig, tmp_path: Path) -> None:
    run = run_stages(small, copied(quick_run, tmp_path).store, tmp_path / "runs" / "early", "distill")
    export(run, {"adapter": tmp_path / "a"})
    body = card(tmp_path / "a")[1]
    assert "> This run did not evaluate its models." in body and "this card claims no accuracy" in body
    assert "## Results" not in body and "%" not in body
