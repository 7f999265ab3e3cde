"""Traces as training reads them: the bits of the shards, the labels of a batch, the order of an epoch."""

from __future__ import annotations

from collections import UserList
from pathlib import Path
from typing import Any

import torch

from ssb_core.config import DistillConfig, RunConfig
from ssb_core.runs import Run
from ssb_core.signal import codecs, layout
from ssb_core.stages import required
from ssb_core.training.dataset import collate
from ssb_core.training.order import Order
from tests.support.training import equal, spec_of, written_traces


def test_written_traces_have_the_bits_of_the_shards(small: RunConfig, quick_run: Run, tmp_path: Path) -> None:
    spec = spec_of(small, quick_run.store)
    traces = written_traces(spec, quick_run.store, tmp_path)
    rows = []
    for manifest in (required(t, quick_run.store) for t in spec.teach):
        for table in quick_run.store.tables(manifest, None):
            rows += [(table, i) for i, reason in enumerate(table["dropped"].to_pylist()) if reason is None]
    assert len(traces) == spec.limit < len(rows)
    for (table, i), trace, length in zip(rows, traces, traces.lengths, strict=False):
        assert trace["prompt_ids"].tolist() == table["student_prompt_ids"][i].as_py()
        assert trace["completion_ids"].tolist() == table["completion_ids"][i].as_py()
        assert equal(trace["signal"], codecs.from_arrow(table[layout.COLUMN], i, traces.signal_metadata[0]))
        assert length == len(trace["prompt_ids"]) + len(trace["completion_ids"])


def test_labels_select_exactly_the_solution_tokens() -> None:
    rows = [
        {"prompt_ids": [1, 2], "completion_ids": [3, 4, 5], "signal": {"hidden": torch.zeros(3, 2)}},
        {"prompt_ids": [1], "completion_ids": [6], "signal": {"hidden": torch.ones(1, 2)}},
    ]
    batch = collate([{name: torch.as_tensor(v) if "ids" in name else v for name, v in r.items()} for r in rows])
    assert batch["input_ids"].tolist() == [[1, 2, 3, 4, 5], [1, 6, 0, 0, 0]]
    assert batch["labels"].tolist() == [[-100, -100, 3, 4, 5], [-100, 6, -100, -100, -100]]
    assert batch["labels"][batch["labels"] != -100].tolist() == [3, 4, 5, 6]
    assert batch["signal"]["hidden"].tolist() == [[0, 0]] * 3 + [[1, 1]]


def test_grouped_batches_have_like_lengths_and_differ_between_epochs() -> None:
    traces: Any = UserList(range(400))
    traces.lengths = torch.randperm(400, generator=torch.Generator().manual_seed(0)).tolist()
    order = Order(traces, DistillConfig(group_by_length=True), 4)

    def padding(order: list[int]) -> int:
        batches = [[traces.lengths[i] for i in order[at : at + 4]] for at in range(0, len(order), 4)]
        return sum(max(b) * len(b) - sum(b) for b in batches)

    first = list(order)
    assert sorted(first) == list(range(400)) and list(order) == first
    assert padding(first) < padding(list(range(400))) / 10
    order.epoch = 1
    assert list(order) != first
