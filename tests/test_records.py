"""Records survive the way through an Arrow table, and every stored record has a type for each of its fields."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from typing import Any

import pyarrow as pa
import pytest

from ssb_core.records import (
    Problem,
    Rollout,
    Sample,
    Selection,
    TeacherTrace,
    Verdict,
    from_row,
    schema,
    to_table,
)

CORRECT, WRONG, NONE = Verdict("correct", "7", "n:7", 0.25), Verdict("unparsable", "?"), Verdict("no_answer")
ROLLOUT = Rollout(
    problem_id="p",
    index=0,
    prompt_ids=(1, 2),
    completion_ids=(3, 2**31 - 1),
    text="text\n\U0001d54f",
    finish_reason="stop",
    seed=2**63 - 1,
)
TRACE = TeacherTrace(
    problem_id="p",
    student_prompt_ids=(1,),
    teacher_prompt_ids=(2, 3),
    completion_ids=(4,),
    text="text",
    finish_reason="stop",
    seed=5,
    verdict=CORRECT,
    dropped=None,
)
SAMPLE = Sample(
    problem_id="p",
    index=3,
    seed=4,
    prompt_hash="hash",
    completion_ids=(5, 6),
    text="text",
    finish_reason="length",
    verdict=WRONG,
)
RECORDS: dict[type, list[Any]] = {
    Rollout: [ROLLOUT, replace(ROLLOUT, index=1, completion_ids=(), text="", finish_reason="too_long")],
    Selection: [Selection("p", (CORRECT, WRONG, NONE), 0, 1, None), Selection("q", (), None, None, "too_long")],
    TeacherTrace: [TRACE, replace(TRACE, completion_ids=(), text="", verdict=NONE, dropped="truncated")],
    Sample: [SAMPLE],
}


@pytest.mark.parametrize("record", RECORDS, ids=lambda r: r.__name__)
def test_records_survive_the_way_through_a_table(record: type) -> None:
    rows = RECORDS[record]
    table = to_table(rows, record)
    assert table.schema == schema(record) and table.column_names == [f.name for f in fields(record)]
    assert [from_row(record, row) for row in table.to_pylist()] == rows
    assert to_table([], record).schema == schema(record)


def test_columns_that_are_no_fields_are_ignored() -> None:
    (row,) = to_table([ROLLOUT], Rollout).to_pylist()
    assert from_row(Rollout, row | {"signal": b"x"}) == ROLLOUT


def test_token_ids_are_32_bit_and_seeds_64_bit() -> None:
    columns = schema(TeacherTrace)
    assert {columns.field(n).type for n in columns.names if n.endswith("_ids")} == {pa.list_(pa.int32())}
    assert columns.field("seed").type == pa.int64()
    with pytest.raises(pa.ArrowInvalid):
        to_table([replace(ROLLOUT, prompt_ids=(2**31,))], Rollout)


def test_the_seconds_of_a_verdict_are_neither_stored_nor_compared() -> None:
    assert Verdict("correct", "7", "n:7", 0.25) == Verdict("correct", "7", "n:7", 9.0)
    (row,) = to_table([TRACE], TeacherTrace).to_pylist()
    assert from_row(TeacherTrace, row).verdict.seconds == 0.0


def test_records_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        CORRECT.status = "incorrect"  # type: ignore[misc]
    with pytest.raises((AttributeError, TypeError)):
        Problem("p", "?", "1").note = "x"  # type: ignore[attr-defined]


@pytest.mark.parametrize(("status", "unverified"), [
    ("correct", False), ("incorrect", False), ("no_answer", False), ("unparsable", False),
    ("timeout", True), ("crashed", True), ("rejected", True),
])  # fmt: skip
def test_an_unverified_answer_is_neither_right_nor_wrong(status: Any, unverified: bool) -> None:
    assert Verdict(status).unverified == unverified


def test_a_literal_match_ignores_only_space_around_the_answer() -> None:
    assert Verdict("correct", " 1/2 ").matches_literally("1/2\n")
    assert not Verdict("correct", "0.5").matches_literally("1/2") and not NONE.matches_literally("")
