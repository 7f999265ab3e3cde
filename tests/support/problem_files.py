"""Problem files of any size, made on the fly."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

BATCH = 10_000  # rows that are written to Parquet at a time


def write_problems(path: Path, n: int) -> Path:
    """Write `n` problems of about 200 characters each, as JSON lines or Parquet by the suffix of `path`."""
    if path.suffix == ".jsonl":
        with path.open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in _rows(range(n)))
        return path
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.string()) for name in ("id", "question", "answer")])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, n, BATCH):
            writer.write_table(pa.Table.from_pylist(list(_rows(range(start, min(start + BATCH, n)))), schema))
    return path


def _rows(numbers: Sequence[int]) -> Iterator[dict[str, str]]:
    for i in numbers:
        boxes, each, given = i % 97 + 3, i % 13 + 2, i % 7
        question = (
            f"Shop number {i} sells {boxes} boxes of {each} pencils each, and gives away {given} pencils to the "
            "children who come by. How many pencils does it part with by the end of that day, if none is ever returned?"
        )
        yield {"id": f"syn-{i:07d}", "question": question, "answer": str(boxes * each + given)}
