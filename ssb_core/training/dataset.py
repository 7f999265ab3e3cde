"""Taught traces as training reads them: one Arrow file that is mapped into memory, a record batch for each trace.

Shards are compressed and checked. `write_dataset` reads each once, so that training can take rows in any order without
holding the set in memory. The file is derived: it is written whenever training starts, and deleted when it ends.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..store import Manifest, Store

if TYPE_CHECKING:
    import pyarrow as pa
    import torch

METADATA = b"ssb_origins"  # of the shards that the traces are from
IDS = ("student_prompt_ids", "completion_ids")


def write_dataset(store: Store, taught: Sequence[Manifest], limit: int, path: Path) -> int:
    """Write the first `limit` accepted traces of finished teach requests to `path`; returns how many there are.

    Raises:
        Damaged: a shard is not what was written.
    """
    import pyarrow as pa

    from ..signal import layout

    shards = [(manifest, entry) for manifest in taught for entry in manifest.files]
    schemas = [store.schema(*shard) for shard in shards]
    if not schemas:
        return 0
    metadata = [json.loads(s.metadata[layout.METADATA.encode()]) for s in schemas]
    columns = [*IDS, layout.COLUMN]
    accepted = _accepted((store.table(*shard, ["dropped", *columns]) for shard in shards), limit)
    return write(path, pa.schema([schemas[0].field(name) for name in columns]), accepted, metadata)


def write(path: Path, schema: pa.Schema, rows: Iterable[pa.Table], metadata: Sequence[dict[str, Any]] = ()) -> int:
    """Write traces, each a table of one row with the columns of `schema`; returns how many there are.

    Without a signal column they can only be learned as text.
    """
    import pyarrow as pa

    noted = schema.with_metadata({METADATA: json.dumps(list(metadata)).encode()})
    n = 0
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, noted) as writer:
        for row in rows:
            writer.write_table(row.select(schema.names).cast(noted))
            n += 1
    return n


def _accepted(tables: Iterator[pa.Table], limit: int) -> Iterator[pa.Table]:
    """A table of one row for each accepted trace."""
    for table in tables:
        for i, reason in enumerate(table["dropped"].to_pylist()):
            if reason is None and limit > 0:
                yield table.slice(i, 1)
                limit -= 1


class Traces:
    """A map-style data set over the file that `write_dataset` wrote, or over a range of it.

    The index after its last trace is an empty trace, without a token to learn from, that pads batches.
    """

    def __init__(self, path: Path, part: range | None = None) -> None:
        import pyarrow as pa

        self.file = pa.ipc.open_file(pa.memory_map(str(path)))
        self.signal_metadata: list[dict[str, Any]] = json.loads(self.file.schema.metadata[METADATA])
        self.part = range(self.file.num_record_batches) if part is None else part

    def __len__(self) -> int:
        return len(self.part)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """``prompt_ids`` (P) and ``completion_ids`` (N) as int64, ``signal``: the codec's fields, (N, width) each."""
        import torch

        from ..signal import codecs, layout

        if index == len(self):
            return self._empty()
        row = self.file.get_batch(self.part[index])
        prompt, completion = (torch.tensor(row[name][0].values.to_numpy(), dtype=torch.long) for name in IDS)
        signal = codecs.from_arrow(row[layout.COLUMN], 0, self.signal_metadata[0]) if self.signal_metadata else {}
        return {"prompt_ids": prompt, "completion_ids": completion, "signal": signal}

    def _empty(self) -> dict[str, Any]:
        import torch

        from ..signal import codecs

        signal = {}
        if self.signal_metadata:
            signal = codecs.from_arrow(codecs.to_arrow([None], self.signal_metadata[0]), 0, self.signal_metadata[0])
        one, none = (torch.zeros(n, dtype=torch.long) for n in (1, 0))
        return {"prompt_ids": one, "completion_ids": none, "signal": signal}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[i] for i in range(len(self)))

    @cached_property
    def lengths(self) -> list[int]:
        """Tokens of every trace, prompt and completion; reads ids only."""
        rows = (self.file.get_batch(i) for i in self.part)
        return [sum(len(row[name][0].values) for name in IDS) for row in rows]


def collate(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Right-padded student inputs (B, S), labels (completion ids, elsewhere -100), signal fields (N, width).

    N runs over the labelled positions in row-major order, as ``labels != -100`` selects them.
    """
    import torch

    shape = (len(rows), max(len(r["prompt_ids"]) + len(r["completion_ids"]) for r in rows))
    input_ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
    labels = torch.full(shape, -100)
    for i, r in enumerate(rows):
        start, end = len(r["prompt_ids"]), len(r["prompt_ids"]) + len(r["completion_ids"])
        input_ids[i, :start], input_ids[i, start:end] = r["prompt_ids"], r["completion_ids"]
        labels[i, start:end] = r["completion_ids"]
        mask[i, :end] = 1
    signal: dict[str, torch.Tensor] = {name: torch.cat([r["signal"][name] for r in rows]) for name in rows[0]["signal"]}
    return {"input_ids": input_ids, "attention_mask": mask, "labels": labels, "signal": signal}
