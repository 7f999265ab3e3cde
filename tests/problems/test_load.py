"""Loading problem sets: files are read as they are, and errors name file, row and remedy."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ssb_core import problems
from ssb_core.config import Benchmark, ProblemsConfig
from ssb_core.errors import ConfigError
from ssb_core.records import Rejection


def config(path: Path, **fields: object) -> ProblemsConfig:
    return ProblemsConfig.model_validate({"source": str(path), **fields})


def load(path: Path, **fields: object) -> problems.ProblemSet:
    return problems.load_problems(config(path, **fields))


def lines(path: Path, *answers: object) -> Path:
    """Write a problem file with these answers."""
    path.write_text("".join(json.dumps({"question": "x", "answer": a}) + "\n" for a in answers))
    return path


def test_json_lines_and_parquet_give_the_same_problems(tmp_path: Path) -> None:
    rows = [{"q": "1+1?", "a": "2"}, {"q": "2+2?", "a": 4}]
    lines = tmp_path / "set.jsonl"
    lines.write_text('{"q": "1+1?", "a": "2"}\r\n\n{"q": "2+2?", "a": 4}\n', encoding="utf-8-sig")
    table = tmp_path / "set.parquet"
    pq.write_table(pa.Table.from_pylist([{k: str(v) for k, v in r.items()} for r in rows]), table)
    read = [load(p, question="q", answer="a") for p in (lines, table)]
    assert [[(p.question, p.answer) for p in loaded] for loaded in read] == [[("1+1?", "2"), ("2+2?", "4")]] * 2


def test_gsm8k_and_aime_answers_are_read(data: Path) -> None:
    gsm8k = load(data / "gsm8k_test.jsonl", form="hash")
    assert len(gsm8k) == 1319 and gsm8k[0].answer == "18"
    aime = load(data / "aime24.jsonl", question="problem", id="id")
    assert len(aime) == 30 and all(p.answer for p in aime)
    math = load(data / "math500.jsonl", question="problem", id="unique_id", subject="subject", level="level")
    assert len(math) == 500 and math[0].subject and math[0].level


def test_numbers_are_written_out_in_full(tmp_path: Path) -> None:
    path = tmp_path / "set.jsonl"
    path.write_text("".join(f'{{"question": "x", "answer": {a}}}\n' for a in ("4", "0.5", "1e20", "4.0", "-1e-3")))
    assert [p.answer for p in load(path)] == ["4", "0.5", "1" + "0" * 20, "4", "-0.001"]


def test_limit_and_shuffle_are_seeded(data: Path) -> None:
    path = data / "gsm8k_test.jsonl"
    first = load(path, form="hash", shuffle_seed=1, limit=5)
    assert first == load(path, form="hash", shuffle_seed=1, limit=9)[:5]
    assert first != load(path, form="hash", shuffle_seed=2, limit=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "contains no problems"),
        ("\n\n", "contains no problems"),
        ('{"question": "x"', "line 1: not valid JSON"),
        ('{"question": "x", "answer": "1"}\n[1]', "line 2: expected a JSON object"),
        ('{"question": "x", "answer": "1"}\n{"question": "y"}', "line 2: no field 'answer'; the fields are: question"),
        ('{"question": "x", "answer": null}', "line 1: no field 'answer'"),
        (
            '{"question": "x", "answer": " "}',
            "(1 of 1 problems are unverifiable); the first is that of 'bad-00001': it is empty\n  remedy",
        ),
        ('{"question": " ", "answer": "1"}', "line 1: the question is empty"),
        ('{"question": "x", "answer": NaN}', "line 1: field 'answer' must be text or a finite number"),
        ('{"question": "x", "answer": ["2", "3"]}', "line 1: field 'answer' must be text"),
        ('{"question": "x", "answer": true}', "line 1: field 'answer' must be text"),
        ('{"question": {"a": 1}, "answer": "1"}', "line 1: field 'question' must be text"),
        ('{"question": "\\ud800", "answer": "1"}', "line 1: field 'question' is not valid Unicode"),
        ("[" * 100_000, "line 1: not valid JSON"),
        ('{"question": "x", "answer": ' + "[" * 900 + "]" * 900 + "}", "line 1: field 'answer' must be text"),
        ('{"question": "x", "answer": Infinity}', "line 1: field 'answer' must be text or a finite number"),
        ('{"question": "x", "answer": 1e999}', "line 1: field 'answer' must be text or a finite number"),
        ('{"question": "x", "answer": ' + "9" * 5000 + "}", "line 1: not valid JSON (Exceeds the limit"),
        ('{"question": "x", "answer": "1"}\r\n{"question": "\x00', "line 2: not valid JSON"),
        ('{"question": "x", "answer": "1"}\r{"question": "y", "answer": "2"}', "line 1: not valid JSON (Extra data"),
        ('[{"question": "x", "answer": "1"}]', "line 1: expected a JSON object, found list"),
        ('{"question": "x", "answer": "1"}\n{"question": "' + "x" * 2**24, "line 2: longer than 16777216 bytes"),
        ('{"question": "x", "answer": "\\udc00"}', "line 1: field 'answer' is not valid Unicode"),
        ("\0" * 100, "line 1: not valid JSON"),
        ("question,answer\nx,1\n", "line 1: not valid JSON"),
        ("{}", "line 1: no field 'question'; the fields are: "),
    ],
    ids=lambda text: text[:40],
)
def test_bad_files_are_refused_with_the_row(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError) as refused:
        load(path)
    assert message in str(refused.value) and "bad.jsonl" in str(refused.value)


@pytest.mark.parametrize(
    ("id", "message"),
    [
        ("", "is empty"),
        ("a\nb", "contains characters that cannot be displayed"),
        ("a\x00", "contains characters that cannot be displayed"),
        ("\x1b[31mred", "contains characters that cannot be displayed"),
        ("a\u202eb", "contains characters that cannot be displayed"),
        (None, "no field 'id'"),
        ([1], "must be text or a finite number"),
    ],
)
def test_an_id_that_cannot_be_shown_is_refused(id: object, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps({"id": id, "question": "x", "answer": "1"}))
    with pytest.raises(ConfigError) as refused:
        load(path, id="id")
    assert message in str(refused.value) and "line 1" in str(refused.value)
    assert all(c.isprintable() or c == "\n" for c in str(refused.value))


@pytest.mark.parametrize("label", ["subject", "level"])
def test_a_label_is_text_or_a_number_or_missing(label: str, tmp_path: Path) -> None:
    def labelled(value: str) -> list[str]:
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.jsonl"
        path.write_text(f'{{"question": "x", "answer": "1", "label": {value}}}')
        return [getattr(p, label) for p in load(path, **{label: "label"})]

    assert [labelled(v) for v in ("3", '"algebra"', "null")] == [["3"], ["algebra"], [""]]
    for value in ('"\\ud800"', "[1]", "NaN"):
        with pytest.raises(ConfigError, match="line 1: field 'label'"):
            labelled(value)


def test_a_damaged_parquet_file_is_refused(tmp_path: Path) -> None:
    whole = tmp_path / "whole.parquet"
    table = pa.table({"question": [f"What is {i}?" for i in range(500)], "answer": [str(i) for i in range(500)]})
    pq.write_table(table, whole)
    content = whole.read_bytes()
    middle = len(content) // 2
    damaged = {
        "empty": b"",
        "text": b'{"question": "x", "answer": "1"}',
        "cut": content[:-20],
        "headless": content[20:],
        "changed": content[:300] + b"\xff" * 200 + content[500:],
        "shortened": content[:middle] + content[middle + 100 :],
    }
    for name, damaged_content in damaged.items():
        (tmp_path / f"{name}.parquet").write_bytes(damaged_content)
        with pytest.raises(ConfigError, match=f"{name}.parquet is not a readable Parquet file"):
            load(tmp_path / f"{name}.parquet")


def test_parquet_fields_of_other_types_are_refused_by_row(tmp_path: Path) -> None:
    path = tmp_path / "set.parquet"
    values = {
        "field 'answer' must be text": [b"1", [1], {"a": 1}, True, float("nan"), datetime(2024, 1, 1)],
        "no field 'answer'": [None],
    }
    for message, answers in values.items():
        for answer in answers:
            pq.write_table(pa.table({"question": ["x", "y"], "answer": pa.array([answer, answer])}), path)
            with pytest.raises(ConfigError, match=f"set.parquet row 1: {message}"):
                load(path)
    text = pa.StringArray.from_buffers(1, pa.py_buffer(b"\0\0\0\0\x01\0\0\0"), pa.py_buffer(b"\xff"))
    pq.write_table(pa.table({"question": text, "answer": ["1"]}), path)
    with pytest.raises(ConfigError, match=r"not a readable Parquet file.*utf-8"):
        load(path)


def test_a_folder_is_not_a_problem_file(tmp_path: Path) -> None:
    for name, message in (("set.jsonl", "set.jsonl is not a file"), ("set", "set is not a problem file")):
        (tmp_path / name).mkdir()
        with pytest.raises(ConfigError, match=message):
            load(tmp_path / name)


def test_odd_but_valid_text_is_read_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "odd.jsonl"
    questions = ["a\0b", "\u2028", "<script>alert(1)</script>", "{question}", "\U0001f600"]
    rows = "\r\n".join(json.dumps({"question": q + "?", "answer": "1", "more": {"a": [None]}}) for q in questions)
    path.write_text("\n \n" + rows, encoding="utf-8-sig")
    loaded = load(path)
    assert [p.question for p in loaded] == [q + "?" for q in questions]
    assert [p.id for p in loaded] == [f"odd-0000{i}" for i in range(3, 8)]


def test_an_unverifiable_problem_is_left_out_with_its_reason(tmp_path: Path) -> None:
    path = lines(tmp_path / "set.jsonl", "1", " ", "2", "9" * 2000, "3", "\\boxed{}")
    assert [p.id for p in load(path)] == ["set-00001", "set-00003", "set-00005"]
    rejected = problems.rejections(config(path))
    assert [(r.problem_id, r.stage) for r in rejected] == [(f"set-0000{i}", "load") for i in (2, 4, 6)]
    assert rejected[0].reason == "it is empty" and "1000" in rejected[1].reason
    assert rejected[2].reason == "it has no answer of form 'boxed'"
    assert [p.answer for p in problems.unverifiable(config(path))] == [" ", "9" * 2000, "\\boxed{}"]


def test_limit_and_shuffle_apply_to_the_verifiable_problems(tmp_path: Path) -> None:
    path = lines(tmp_path / "set.jsonl", " ", "1", " ", "2", "3")
    assert [p.answer for p in load(path, limit=2)] == ["1", "2"]
    assert len(problems.rejections(config(path, limit=2))) == 2
    clean = lines(tmp_path / "clean.jsonl", "1", "2", "3")
    assert [p.answer for p in load(path, shuffle_seed=4)] == [p.answer for p in load(clean, shuffle_seed=4)]


@pytest.mark.parametrize("form", ["hash", "choice"])
def test_a_set_without_verifiable_problems_is_refused_with_the_remedy(tmp_path: Path, form: str) -> None:
    path = lines(tmp_path / "set.jsonl", "12 apples", "13")
    with pytest.raises(ConfigError) as refused:
        load(path, form=form)
    for part in (str(path), "2 of 2 problems are", "'set-00001'", "problems.answer, now 'answer'", f"now '{form}'"):
        assert part in str(refused.value)


def test_choice_sets_keep_only_letters(tmp_path: Path) -> None:
    path = lines(tmp_path / "set.jsonl", "B", "(C)", "\\boxed{A}", "42", "F")
    assert [p.answer for p in load(path, form="choice")] == ["B", "(C)", "A"]
    assert [r.problem_id for r in problems.rejections(config(path, form="choice"))] == ["set-00004", "set-00005"]


def test_a_benchmark_rejects_like_a_training_set(tmp_path: Path) -> None:
    path = lines(tmp_path / "set.jsonl", "1", "")
    benchmark = Benchmark(name="mine", source=str(path))
    assert [p.answer for p in problems.load_problems(benchmark)] == ["1"]
    assert problems.rejections(benchmark) == (Rejection("set-00002", "load", "it is empty"),)


def test_no_gold_of_the_public_sets_is_unverifiable(data: Path) -> None:
    gsm8k = config(data / "gsm8k_test.jsonl", form="hash")
    math = config(data / "math500.jsonl", question="problem", id="unique_id")
    aime = config(data / "aime24.jsonl", question="problem", id="id")
    assert [problems.rejections(c) for c in (gsm8k, math, aime)] == [(), (), ()]


def test_a_repeated_id_is_refused_even_if_one_is_unverifiable(tmp_path: Path) -> None:
    path = tmp_path / "twice.jsonl"
    path.write_text('{"n": 1, "question": "x", "answer": "1"}\n{"n": 1, "question": "y", "answer": ""}\n')
    with pytest.raises(ConfigError, match="line 2: the id '1' is already used in line 1"):
        load(path, id="n")


def test_invalid_utf8_and_missing_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b'{"question": "\xff", "answer": "1"}')
    with pytest.raises(ConfigError, match="line 1: not valid UTF-8"):
        load(path)
    with pytest.raises(ConfigError, match="does not exist"):
        load(tmp_path / "none.jsonl")
    (tmp_path / "x.parquet").write_text("no")
    with pytest.raises(ConfigError, match="not a readable Parquet"):
        load(tmp_path / "x.parquet")


def test_embedded_sets_have_the_promised_sizes_and_unique_ids() -> None:
    for name, size in (("nano-train", 4096), ("nano-test", 512), ("nano-hard", 256)):
        loaded = problems.load_problems(ProblemsConfig(source=name))
        assert len(loaded) == len({p.id for p in loaded}) == len({p.question for p in loaded}) == size


def test_distinct_sets_split_by_skip_share_no_question(tmp_path: Path) -> None:
    """No question of the training part is among the problems after `skip`, and no question repeats."""
    path = tmp_path / "many.jsonl"
    questions = [f"How many are {i % 30} and {i % 7}?" for i in range(60)] + ["how many  are 3 and 3?"]
    path.write_text("".join(json.dumps({"question": q, "answer": "1"}) + "\n" for q in questions))
    whole = ProblemsConfig(source=str(path), form="exact", shuffle_seed=1, distinct=True)
    train = problems.load_problems(whole.model_copy(update={"limit": 20}))
    rest = problems.load_problems(whole.model_copy(update={"skip": 20}))
    words = [" ".join(p.question.lower().split()) for p in (*train, *rest)]
    assert len(words) == len(set(words)) == len({" ".join(q.lower().split()) for q in questions})
    assert len(problems.load_problems(whole.model_copy(update={"distinct": False}))) == 61
