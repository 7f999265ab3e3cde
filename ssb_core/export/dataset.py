"""The curated data set: one row for each taught trace, in the order of the training set, in Parquet files.

Rows are joined shard by shard, so memory holds only one shard at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import models
from ..errors import ConfigError
from ..records import Problem, Rollout, Selection, TeacherTrace, schema
from ..results.provenance import Provenance, student_messages
from ..runs import Run
from ..store import FileEntry, Manifest
from .cards import Card

if TYPE_CHECKING:
    import pyarrow as pa

FILE_BYTES = 256 * 2**20
GROUP_BYTES = 16 * 2**20
COLUMNS = {
    "problem_id": "id of the problem in its set",
    "question": "the question",
    "answer": "its reference answer",
    "prompt": "the student's prompt as chat messages: the question alone",
    "prompt_text": "the same, rendered with the model's chat template",
    "solution": "the teacher's solution, which the student learns",
    "correct_rollout": "the model's own correct answer, which the teacher saw",
    "wrong_rollout": "the model's own answer with the most common wrong result, which the teacher saw too",
    "wrong_answer": "the final answer of that rollout",
    "verdict": "the verifier's verdict on the solution: status, final answer, canonical key",
    "student_prompt_ids": "token ids of `prompt_text`",
    "teacher_prompt_ids": "token ids of the teacher's prompt: the question and both rollouts",
    "completion_ids": "token ids of the solution as they were sampled, with the end of the turn",
}


@dataclass(frozen=True, slots=True)
class TaughtWaves:
    """The waves of a run that the rows are joined from.

    Each wave has the manifests of its rollouts, select and teach requests. The data set holds the first `limit` taught
    traces. `trained` says whether a student was trained on them. `problems` are the sampled problems by id.
    """

    waves: tuple[tuple[Manifest, Manifest, Manifest], ...]
    limit: int
    trained: bool
    problems: dict[str, Problem]


def find(provenance: Provenance) -> TaughtWaves:
    """Find the traces that the run's student was trained on, or would be trained on if there is no student yet.

    Raises:
        ConfigError: the run taught no traces, or its problems have changed since.
        StoreError: the store no longer has the traces.
    """
    run = provenance.run
    taught = run.manifests("teach")
    if not sum(m.stats.get("taught", 0) for m in taught):
        last = list(run.load_summary()["stages"])[-1]
        raise ConfigError(
            f"run {run.name} taught no traces: it ended after {last}\n  remedy: finish it "
            f"with `ssb run --config {run.directory / 'config.yaml'} --name {run.name}`"
        )
    trained = run.manifests("distill")
    limit = trained[0].stats["traces"] if trained else provenance.config.target_traces
    waves = zip(run.manifests("rollouts"), run.manifests("select"), taught, strict=True)
    problems = {p.id: p for p in provenance.load_training_problems()}
    return TaughtWaves(tuple(waves), limit, bool(trained), problems)


def write(provenance: Provenance, taught: TaughtWaves, directory: Path, signal: bool = False) -> Card:
    """Write the rows as ``data/train-*.parquet``. `signal` adds the teacher's signal at every solution token.

    Raises:
        StoreError: a shard is damaged.
    """
    tokenizer = models.load_tokenizer(provenance.model)
    files = _Files(directory / "data")
    for table in tables(provenance, taught, tokenizer, signal):
        files.add(table)
    files.close()
    metadata = _signal_metadata(provenance.run, taught) if signal else {}
    context = {"tokenizer": tokenizer, "trained": taught.trained, "columns": COLUMNS, "signal": metadata}
    return Card("dataset", context, rows=files.rows)


def tables(provenance: Provenance, taught: TaughtWaves, tokenizer: Any, signal: bool = False) -> Iterator[pa.Table]:
    """The rows, as one table for each shard that holds any of them."""
    import pyarrow as pa

    remaining = taught.limit
    metadata = {_metadata_key(): json.dumps(_signal_metadata(provenance.run, taught))} if signal else None
    for wave, *files in _shards(taught):
        if not remaining:
            return
        rows = _join(provenance.run, wave, files, taught.problems, tokenizer)
        kept = [(i, row) for i, row in enumerate(rows) if row is not None][:remaining]
        remaining -= len(kept)
        if kept:
            table = pa.Table.from_pylist([row for _, row in kept], _schema())
            if signal:
                table = _with_signal(table, provenance.run, wave[2], files[2], [i for i, _ in kept])
            yield table.replace_schema_metadata(metadata)


def _shards(taught: TaughtWaves) -> Iterator[tuple[Any, FileEntry, FileEntry, FileEntry]]:
    """Each wave with its shards of rollouts, selections and taught solutions that are about the same problems."""
    for wave in taught.waves:
        for files in zip(*(m.files for m in wave), strict=True):
            yield wave, *files


def _join(
    run: Run, wave: Sequence[Manifest], files: Sequence[FileEntry], problems: dict[str, Problem], tokenizer: Any
) -> list[dict[str, Any] | None]:
    """A row for each solution of a shard, or None for a solution that was rejected."""
    rollouts = {(r.problem_id, r.index): r for r in run.store.records(wave[0], files[0], Rollout)}
    selections = {s.problem_id: s for s in run.store.records(wave[1], files[1], Selection)}
    return [
        _row(problems[t.problem_id], selections[t.problem_id], rollouts, t, tokenizer) if t.dropped is None else None
        for t in run.store.records(wave[2], files[2], TeacherTrace)
    ]


def _row(
    problem: Problem, selection: Selection, rollouts: dict[Any, Rollout], trace: TeacherTrace, tokenizer: Any
) -> dict[str, Any]:
    assert selection.correct is not None and selection.wrong is not None
    verdict = {name: value for name, value in asdict(trace.verdict).items() if name != "seconds"}
    return {
        "problem_id": problem.id,
        "question": problem.question,
        "answer": problem.answer,
        "prompt": student_messages(tokenizer, problem.question),
        "prompt_text": tokenizer.decode(trace.student_prompt_ids, clean_up_tokenization_spaces=False),
        "solution": trace.text,
        "correct_rollout": rollouts[problem.id, selection.correct].text,
        "wrong_rollout": rollouts[problem.id, selection.wrong].text,
        "wrong_answer": selection.verdicts[selection.wrong].answer,
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


def _signal_metadata(run: Run, taught: TaughtWaves) -> dict[str, Any]:
    """The signal metadata that is the same in all shards."""
    from ..results.signal_metadata import load_signal_metadata

    shards = list(chain.from_iterable(load_signal_metadata(run.store, manifest) for _, _, manifest in taught.waves))
    return {name: value for name, value in shards[0].items() if all(s.get(name) == value for s in shards)}


def _with_signal(table: pa.Table, run: Run, taught: Manifest, file: FileEntry, kept: Sequence[int]) -> pa.Table:
    """The table with an additional column for each field of the signal, which has the field's name."""
    from ..signal.layout import COLUMN

    signal = run.store.table(taught, file, [COLUMN])[COLUMN].take(list(kept)).combine_chunks()
    for field in signal.type:
        table = table.append_column(field.name, signal.field(field.name))
    return table


class _Files:
    """Parquet files of about `FILE_BYTES`. They get the names that the hub expects when their number is known."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        self.rows = 0
        self._pending: list[pa.Table] = []
        self._writer: Any = None
        self._sink: Any = None
        self._paths: list[Path] = []

    def add(self, table: pa.Table) -> None:
        """Append rows, and write them as soon as there are enough for a row group."""
        self.rows += table.num_rows
        self._pending.append(table)
        if sum(t.nbytes for t in self._pending) >= GROUP_BYTES:
            self._flush()

    def close(self) -> None:
        """Write the remaining rows, and name all files."""
        self._flush()
        self._end()
        n = len(self._paths)
        for i, path in enumerate(self._paths):
            path.rename(path.with_name(f"train-{i:05d}-of-{n:05d}.parquet"))

    def _flush(self) -> None:
        """Write the pending rows as one row group, and close the file if it is large enough."""
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
