"""A training step beside the dense reference's and plain fine-tuning's, and how long its batches take to load."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from ssb_core.signal import codecs, layout
from ssb_core.store import Manifest, Recipe, Store
from ssb_core.training.dataset import Traces, collate, write_dataset
from tests.bench.measure import Figures, measured
from tests.bench.training import WAYS

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]


def test_a_training_step_costs_what_fine_tuning_does(tmp_path: Path, figures: Figures) -> None:
    measured("tests.bench.training", "sft", tmp_path)  # converts the model
    results = {way: measured("tests.bench.training", way, tmp_path) for way in WAYS}
    rows = [
        {
            "way": way,
            "tokens/s": f["tokens"] / f["seconds"],
            "of fine-tuning's time": f["seconds"] / results["sft"]["seconds"],
            "of the reference's time": f["seconds"] / results["reference"]["seconds"],
            "extra MiB": f["bytes"] / 2**20,
        }
        for way, f in results.items()
    ]
    figures("training step, SmolLM2-135M bfloat16, 4 sequences", rows)
    assert results["ssb"]["seconds"] <= 1.1 * results["sft"]["seconds"]
    assert results["ssb"]["seconds"] < results["reference"]["seconds"]
    assert results["ssb"]["bytes"] < results["reference"]["bytes"]


TRACES, PROMPT, REPLY, HIDDEN, VOCABULARY, BATCH = 16, 120, 240, 576, 49_152, 4


def stored(store: Store) -> Manifest:
    """A finished teach request at SmolLM2's shape."""
    metadata = {"codec": "hidden/2", "dtype": "bfloat16", "hidden_size": HIDDEN}
    signal = [{"hidden": torch.randn(REPLY, HIDDEN, dtype=torch.bfloat16)} for _ in range(TRACES)]
    ids = [[list(range(n))] * TRACES for n in (PROMPT, REPLY)]
    columns = {"dropped": pa.nulls(TRACES, pa.string()), "student_prompt_ids": ids[0], "completion_ids": ids[1]}
    table = pa.table({**columns, layout.COLUMN: codecs.to_arrow(signal, metadata)})
    table = table.replace_schema_metadata({layout.METADATA: json.dumps(metadata)})
    recipe = Recipe("teach", {"bench": "load"})
    store.prepare(recipe)
    shard = store.write_shard(recipe, "0", table, [str(i) for i in range(TRACES)], None)
    return store.commit(recipe, Manifest("teach", recipe.hash, "0" * 16, (shard.file,)))


def test_a_batch_is_loaded_in_a_twentieth_of_the_references_time(tmp_path: Path, figures: Figures) -> None:
    """Both with files that the operating system has in memory."""
    store = Store(tmp_path / "store")
    write_dataset(store, [stored(store)], TRACES, tmp_path / "traces.arrow")
    traces = Traces(tmp_path / "traces.arrow")
    for i in range(TRACES):
        np.savez(
            tmp_path / f"{i}.npz", logits=np.random.default_rng(i).standard_normal((REPLY, VOCABULARY), np.float32)
        )

    def ours(at: int) -> Any:
        return collate([traces[i] for i in range(at, at + BATCH)])

    def reference(at: int) -> Any:
        teacher_BSV = torch.zeros(BATCH, PROMPT + REPLY, VOCABULARY)
        for row in range(BATCH):
            teacher_BSV[row, PROMPT - 1 : -1] = torch.from_numpy(np.load(tmp_path / f"{at + row}.npz")["logits"])
        return teacher_BSV

    seconds = {}
    for way in (ours, reference):
        rounds = []
        for _ in range(5):
            started = time.perf_counter()
            for at in range(0, TRACES, BATCH):
                way(at)
            rounds.append(time.perf_counter() - started)
        seconds[way.__name__] = min(rounds) * BATCH / TRACES
    rows = [
        {"way": w, "ms a batch": s * 1000, "reference over it": seconds["reference"] / s} for w, s in seconds.items()
    ]
    figures("loading a batch of 4 sequences, SmolLM2's shape", rows)
    assert seconds["ours"] <= seconds["reference"] / 20
