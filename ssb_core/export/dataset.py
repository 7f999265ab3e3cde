"""The curated data set: one row for each taught trace, in the order of the training set, in Parquet files.

Rows are joined shard by shard, so memory holds one shard however many there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .. import models
from ..errors import ConfigError
from ..records import Problem, Rollout, Selection, TeacherTrace, from_row, schema
from ..results.provenance import Origin, student_turns
from ..runs import Run
from ..store import FileEntry, Manifest
from .cards import Card

if TYPE_CHECKING:
    import pyarrow as pa

R = TypeVar("R")
FILE_BYTES = 256 * 2**20
GROUP_BYTES = 16 * 2**20
COLUMNS = {
    "problem_id": "id of the problem in its set",
    "question": "the question",
    "answer": "its reference answer",
    "prompt": "what the student sees, as chat messages: the question alone",
    "prompt_text": "the same, rendered with the model's chat template",
    "solution": "the teacher's solution, which the student learns",
    "correct_rollout": "the model's own correct answer that the teacher was shown",
    "wrong_rollout": "its own wrong answer that the teacher was shown, one with the most common wrong result",
    "wrong_answer": "the final answer of that rollout",
    "verdict": "the verifier's verdict on the solution: status, final answer, canonical key",
    "student_prompt_ids": "token ids of `prompt_text`",
    "teacher_prompt_ids": "token ids of what the teacher saw: the question and both rollouts",
    "completion_ids": "token ids of the solution as they were sampled, with the end of the turn",
}


@dataclass(frozen=True, slots=True)
class Traces:
    """Finished rollouts, select and teach requests by wave, how many of their traces count, and the problems asked."""

    waves: tuple[tuple[Manifest, Manifest, Manifest], ...]
    limit: int
    trained: bool
    asked: dict[str, Problem]


def find(origin: Origin) -> Traces:
    """The traces that the run's student was trained on; without a student, those it would be.

    Raises:
        ConfigError: the run taught none, or its problems are no longer what they were.
        StoreError: the store no longer holds them.
    """
    run = origin.run
    taught = run.manifests("teach")
    if not sum(m.stats.get("taught", 0) for m in taught):
        last = list(run.load_summary()["stages"])[-1]
        raise ConfigError(
            f"run {run.name} taught no traces: it ended after {last}\n  remedy: finish it "
            f"with `ssb run --config {run.directory / 'config.yaml'} --name {run.name}`"
        )
    trained = run.manifests("distill")
    limit = trained[0].stats["traces"] if trained else origin.config.target_traces
    waves = zip(run.manifests("rollouts"), run.manifests("select"), taught, strict=True)
    return Traces(tuple(waves), limit, bool(trained), {p.id: p for p in origin.asked()})


def write(origin: Origin, traces: Traces, directory: Path, signal: bool = False) -> Card:
    """The rows as ``data/train-*.parquet``; with `signal`, the teacher's hidden state at every solution token too.

    Raises:
        StoreError: a shard is damaged.
    """
    tokenizer = models.load_tokenizer(origin.model)
    files = _Files(directory / "data")
    for table in tables(origin, traces, tokenizer, signal):
        files.add(table)
    files.close()
    what = _signal_origin(origin.run, traces) if signal else {}
    facts = {"tokenizer": tokenizer, "traces": traces, "columns": COLUMNS, "signal": what}
    return Card("dataset", facts, rows=files.rows)


def tables(origin: Origin, traces: Traces, tokenizer: Any, signal: bool = False) -> Iterator[pa.Table]:
    """The rows, one table for each shard that holds any of them."""
    import pyarrow as pa

    left = traces.limit
    metadata = {_metadata_key(): json.dumps(_signal_origin(origin.run, traces))} if signal else None
    for wave, *entries in _shards(traces):
        if not left:
            return
        rows = _joined(origin.run, wave, entries, traces.asked, tokenizer)
        kept = [(i, row) for i, row in enumerate(rows) if row is not None][:left]
        left -= len(kept)
        if kept:
            table = pa.Table.from_pylist([row for _, row in kept], _schema())
            if signal:
                table = _with_signal(table, origin.run, wave[2], entries[2], [i for i, _ in kept])
            yield table.replace_schema_metadata(metadata)


def _shards(traces: Traces) -> Iterator[tuple[Any, FileEntry, FileEntry, FileEntry]]:
    """The wave, and its shards of rollouts, selections and taught solutions that are about the same problems."""
    for wave in traces.waves:
        for entries in zip(*(m.files for m in wave), strict=True):
            yield wave, *entries


def _joined(
    run: Run, wave: Sequence[Manifest], entries: Sequence[FileEntry], asked: dict[str, Problem], tokenizer: Any
) -> list[dict[str, Any] | None]:
    """A row for each solution of a shard, None for those that were rejected."""
    shown = {(r.problem_id, r.index): r for r in _records(run, wave[0], entries[0], Rollout)}
    chosen = {s.problem_id: s for s in _records(run, wave[1], entries[1], Selection)}
    return [
        _row(asked[t.problem_id], chosen[t.problem_id], shown, t, tokenizer) if t.dropped is None else None
        for t in _records(run, wave[2], entries[2], TeacherTrace)
    ]


def _records(run: Run, manifest: Manifest, entry: FileEntry, record: type[R]) -> list[R]:
    columns = [f.name for f in fields(record)]  # type: ignore[arg-type]
    return [from_row(record, row) for row in run.store.table(manifest, entry, columns).to_pylist()]


def _row(
    problem: Problem, chosen: Selection, shown: dict[Any, Rollout], trace: TeacherTrace, tokenizer: Any
) -> dict[str, Any]:
    assert chosen.correct is not None and chosen.wrong is not None
    verdict = {name: value for name, value in asdict(trace.verdict).items() if name != "seconds"}
    return {
        "problem_id": problem.id,
        "question": problem.question,
        "answer": problem.answer,
        "prompt": student_turns(tokenizer, problem.question),
        "prompt_text": tokenizer.decode(trace.student_prompt_ids, clean_up_tokenization_spaces=False),
        "solution": trace.text,
        "correct_rollout": shown[problem.id, chosen.correct].text,
        "wrong_rollout": shown[problem.id, chosen.wrong].text,
        "wrong_answer": chosen.verdicts[chosen.wrong].answer,
        "verdict": verdict,
        "student_prompt_ids": trace.student_prompt_ids,
        "teacher_prompt_ids": trace.teacher_prompt_ids,
        "completion_ids": trace.completion_ids,
    }


def _schema() -> pa.Schema:
    import pyarrow as pa

    stored = {f.name: f.type for f in schema(TeacherTrace)}
    messages = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.schema([(name, stored.get(name, messages if name == "prompt" else pa.string())) for name in COLUMNS])


def _metadata_key() -> str:
    from ..signal.layout import METADATA

    return METADATA


def _signal_origin(run: Run, traces: Traces) -> dict[str, Any]:
    """What the signal's numbers are, which is the same in all shards."""
    from ..results.summary import signal_origins

    found = list(chain.from_iterable(signal_origins(run.store, taught) for _, _, taught in traces.waves))
    return {name: value for name, value in found[0].items() if all(o.get(name) == value for o in found)}


def _with_signal(table: pa.Table, run: Run, taught: Manifest, entry: FileEntry, kept: Sequence[int]) -> pa.Table:
    """The table with a column for each field of the signal, under the field's own name."""
    from ..signal.layout import COLUMN

    signal = run.store.table(taught, entry, [COLUMN])[COLUMN].take(list(kept)).combine_chunks()
    for field in signal.type:
        table = table.append_column(field.name, signal.field(field.name))
    return table


class _Files:
    """Parquet files of about `FILE_BYTES`, named as the hub names them once their number is known."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.rows = 0
        self._pending: list[pa.Table] = []
        self._writer: Any = None
        self._sink: Any = None
        self._paths: list[Path] = []

    def add(self, table: pa.Table) -> None:
        self.rows += table.num_rows
        self._pending.append(table)
        if sum(t.nbytes for t in self._pending) >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write what is left, and give all files their names."""
        self._flush()
        self._end()
        n = len(self._paths)
        for i, path in enumerate(self._paths):
            path.rename(path.with_name(f"train-{i:05d}-of-{n:05d}.parquet"))

    def _flush(self) -> None:
        """Write what is pending as one row group; begin another file when this one is large enough."""
        import pyarrow as pa

        if not self._pending:
            return
        group = pa.concat_tables(self._pending)
        self._pending.clear()
        if self._writer is None:
            self._begin(group.schema)
        self._writer.write_table(group)
        if self._sink.tell() >= FILE_BYTES:
            self._end()

    def _begin(self, columns: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._paths.append(self.folder / f"{len(self._paths)}.parquet")
        self._sink = self._paths[-1].open("wb")
        self._writer = pq.ParquetWriter(self._sink, columns, compression="zstd", write_page_checksum=True)

    def _end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._sink.close()
            self._writer = None
