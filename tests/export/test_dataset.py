"""The exported data set: the rows that were trained on, in their order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from ssb_core import models, prompts, verify
from ssb_core.export import Kind, dataset, export
from ssb_core.results.provenance import Provenance
from ssb_core.runs import Run
from ssb_core.training.dataset import Traces, write_dataset
from tests.support.cards import card, code


def test_the_rows_are_the_traces_that_were_trained_on_in_their_order(
    exports: dict[Kind, Path], quick_run: Run, tmp_path: Path
) -> None:
    rows = pq.read_table(exports["dataset"] / "data").to_pylist()
    write_dataset(quick_run.store, quick_run.manifests("teach"), 24, tmp_path / "traces.arrow")
    trained = Traces(tmp_path / "traces.arrow")
    assert len(rows) == len(trained) == quick_run.manifests("distill")[0].stats["traces"] == 24
    by_id = {p.id: p for p in Provenance.load(quick_run).load_training_problems()}
    for row, trace in zip(rows, (trained[i] for i in range(len(trained))), strict=True):
        assert row["student_prompt_ids"] == trace["prompt_ids"].tolist()
        assert row["completion_ids"] == trace["completion_ids"].tolist()
        assert torch.equal(torch.tensor(row["hidden"]), trace["signal"]["hidden"])
        problem = by_id[row["problem_id"]]
        assert (row["question"], row["answer"]) == (problem.question, problem.answer)
        assert row["prompt"] == prompts.tutor_messages(problem.question)
        assert problem.question in row["prompt_text"] and row["prompt_text"].endswith("<|im_start|>assistant\n")


def test_the_rows_hold_what_the_teacher_was_shown(exports: dict[Kind, Path], nano: models.ResolvedModel) -> None:
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
