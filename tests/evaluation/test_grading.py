"""Grading a file: every line gets its verdict in order, a bad gold is no completion's fault, bad lines are refused."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ssb_core.errors import ConfigError
from ssb_core.evaluation import grading
from ssb_core.progress import Progress
from ssb_core.records import AnswerForm


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def graded(path: Path, form: AnswerForm = "boxed") -> tuple[list[dict[str, Any]], grading.Tally]:
    lines: list[str] = []
    total = grading.check(path, form, None)
    tally = grading.run(path, form, total, lines.append, Progress())
    assert total == len(lines)
    return [json.loads(line) for line in lines], tally


def test_every_pair_gets_its_verdict_in_order(tmp_path: Path) -> None:
    path = write(
        tmp_path / "in.jsonl",
        {"id": 7, "gold": "1/2", "completion": "\\boxed{0.5}", "other": 1},
        {"id": None, "gold": 3, "completion": "\\boxed{4}"},
        {"gold": 0.25, "completion": "a quarter"},
    )
    rows, tally = graded(path)
    assert [r["status"] for r in rows] == ["correct", "incorrect", "no_answer"]
    assert [r["answer"] for r in rows] == ["0.5", "4", None]
    assert rows[0]["key"] == rows[0]["gold_key"] != rows[1]["gold_key"]
    assert rows[0]["id"] == 7 and rows[1]["id"] is None and "id" not in rows[2]
    assert set(rows[2]) == {"status", "answer", "key", "gold_key", "seconds"}
    assert dict(tally.statuses) == {"correct": 1, "incorrect": 1, "no_answer": 1}


def test_a_bad_gold_is_told_apart_in_its_place_and_counts_for_nothing(tmp_path: Path) -> None:
    bad, good = {"gold": " ", "completion": "\\boxed{1}"}, {"gold": "1", "completion": "\\boxed{1}"}
    rows, tally = graded(write(tmp_path / "in.jsonl", bad, good, bad, bad, good, bad))
    assert [r["status"] for r in rows] == ["rejected", "correct", "rejected", "rejected", "correct", "rejected"]
    assert rows[0] == {
        "status": "rejected", "answer": None, "key": None, "gold_key": None, "seconds": 0.0, "reason": "it is empty",
    }  # fmt: skip
    assert dict(tally.statuses) == {"correct": 2}
    assert [line for line, _ in tally.unverifiable] == [1, 3, 4, 6]
    assert "graded        2 of 6 pairs" in str(tally) and "accuracy      100.0%" in str(tally)
    assert "4, counted as neither right nor wrong: line 1 (it is empty), line 3" in str(tally)


def test_an_answer_that_times_out_costs_only_itself(tmp_path: Path) -> None:
    honest, hostile = r"\boxed{\sqrt{49}}", r"\boxed{\binom{999999999}{444444444}}"
    rows, tally = graded(
        write(tmp_path / "in.jsonl", *({"gold": "7", "completion": c} for c in (honest, hostile, honest)))
    )
    assert [r["status"] for r in rows] == ["correct", "timeout", "correct"]
    assert dict(tally.statuses) == {"correct": 2, "timeout": 1}


def test_a_gold_that_cannot_be_computed_is_a_bad_gold_and_tried_once(tmp_path: Path) -> None:
    row = {"gold": r"\binom{999999999}{444444444}", "completion": r"\boxed{7}"}
    rows, tally = graded(write(tmp_path / "in.jsonl", *[row] * 10, {"gold": "7", "completion": r"\boxed{7}"}))
    assert [r["status"] for r in rows] == ["timeout"] * 10 + ["correct"]
    assert {r.get("reason") for r in rows[:10]} == {"it could not be computed"}
    assert dict(tally.statuses) == {"correct": 1} and len(tally.unverifiable) == 10
    assert tally.seconds < 30  # ten deadlines


def test_where_every_gold_is_bad_there_is_no_accuracy(tmp_path: Path) -> None:
    rows, tally = graded(write(tmp_path / "in.jsonl", {"gold": "", "completion": "\\boxed{1}"}))
    assert [r["status"] for r in rows] == ["rejected"]
    assert "graded        0 of 1 pairs" in str(tally) and "accuracy" not in str(tally)


def test_the_tally_has_the_accuracy_by_value_and_letter_for_letter(tmp_path: Path) -> None:
    golds = [("1/2", "0.5"), ("1/2", "1/2"), ("1,200", "1200"), ("3", "4")]
    rows = [{"gold": gold, "completion": f"\\boxed{{ {answer} }}"} for gold, answer in golds]
    _, tally = graded(write(tmp_path / "in.jsonl", *rows))
    assert "accuracy      75.0%, 95% interval 30.1% to 95.4% (Wilson)" in str(tally)
    assert "string match  25.0%" in str(tally) and "verdicts      3 correct, 1 incorrect" in str(tally)


@pytest.mark.parametrize(
    ("raw", "form", "answer"),
    [
        ("1/2", "boxed", "1/2"),
        ("so \\boxed{\\frac{1}{2}}.", "boxed", "\\frac{1}{2}"),
        ("3 + 4 = 7\n#### 1,200", "boxed", "1,200"),
        ("3 + 4 = 7\n#### 1,200", "hash", "1,200"),
        ("so \\boxed{7}", "hash", "7"),
        (" 7 ", "hash", "7"),
        ("(B)", "choice", "(B)"),
        ("It is \\boxed{B}", "choice", "B"),
        ("Because.\n#### B", "choice", "B"),
        ("#### 7", "exact", "#### 7"),
    ],
)
def test_the_gold_may_be_bare_or_a_whole_solution_in_every_form(raw: str, form: AnswerForm, answer: str) -> None:
    assert grading.reference_answer(raw, form) == answer


@pytest.mark.parametrize(
    ("form", "gold", "completion"),
    [
        ("hash", "1,200", "so\n#### 1200"),
        ("choice", "B", "It is \\boxed{(b)}"),
        ("choice", "B", "(B)"),
        ("exact", "7", "7.0"),
    ],
)
def test_completions_are_read_in_the_form_asked_for(
    tmp_path: Path, form: AnswerForm, gold: str, completion: str
) -> None:
    rows, _ = graded(write(tmp_path / "in.jsonl", {"gold": gold, "completion": completion}), form)
    assert [r["status"] for r in rows] == ["correct"]


def test_half_a_surrogate_pair_and_unicode_line_breaks_break_no_line(tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"id": "\\ud800", "gold": "1", "completion": "\\\\boxed{\\udfff}"}\r\n\r\n'
        + '{"gold": "1", "completion": "a\u2028b\u2029c\x85 \\\\boxed{1}"}'.encode()
    )
    rows, _ = graded(path)
    assert [r["status"] == "correct" for r in rows] == [False, True] and rows[0]["id"] == "\ud800"
    lines: list[str] = []
    grading.run(path, "boxed", 2, lines.append, Progress())
    assert all(line.isascii() and line.endswith("\n") for line in lines)


GOOD = '{"gold": "1", "completion": "1"}\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "holds no pairs; each line is a JSON object with the fields gold and completion"),
        (GOOD + "{", "line 2: not valid JSON"),
        (GOOD + "\n[1]", "line 3: expected a JSON object, found list"),
        ('{"completion": "1"}', "line 1: no field 'gold'; the fields are: completion\n  remedy: give every line"),
        ('{"gold": "1", "completion": null}', "line 1: no field 'completion'"),
        ('{"gold": true, "completion": "1"}', "line 1: field 'gold' must be text or a finite number, found True"),
        ('{"gold": ["1"], "completion": "1"}', "line 1: field 'gold' must be text"),
        ('{"gold": "1", "completion": 1}', "line 1: field 'completion' must be text, found 1"),
        (b"\xff", "line 1: not valid UTF-8"),
    ],
)
def test_a_bad_line_is_refused_before_anything_is_graded(tmp_path: Path, text: str | bytes, said: str) -> None:
    path = tmp_path / "in.jsonl"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as refused:
        grading.check(path, "boxed", None)
    assert said in str(refused.value) and str(path) in str(refused.value)


def test_a_missing_input_and_an_output_not_to_be_replaced_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "in.jsonl", {"gold": "1", "completion": "1"})
    for source, out, said in (
        (tmp_path / "none.jsonl", None, "none.jsonl is not a file"),
        (tmp_path, None, "is not a file"),
        (path, path, "is the input"),
        (path, tmp_path, "is not a file"),
        (path, Path("/dev/null"), "/dev/null is not a file"),
    ):
        with pytest.raises(ConfigError, match=said):
            grading.check(source, "boxed", out)


def test_pairs_are_graded_as_they_are_read() -> None:
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b'{"gold": "1", "completion": "\\\\boxed{1}"}\n'

    graded_pairs = grading.grade(grading.pairs(endless(), "endless", "boxed"), "boxed")
    assert [next(graded_pairs)[1].status for _ in range(5)] == ["correct"] * 5
    assert read < 10_000
    graded_pairs.close()  # type: ignore[attr-defined]


def test_an_output_file_is_there_only_once_all_is_written(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out.jsonl"
    with pytest.raises(KeyboardInterrupt), grading.output(out) as put:
        put("half\n")
        raise KeyboardInterrupt
    assert list(out.parent.iterdir()) == []
    with grading.output(out) as put:
        put("whole\n")
    assert out.read_text() == "whole\n" and list(out.parent.iterdir()) == [out]


def test_standard_output_is_written_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr("sys.stdout", stdout)
    with grading.output(None) as put:
        put("line\n")
        assert stdout.buffer.getvalue() == b"line\n"  # type: ignore[attr-defined]
