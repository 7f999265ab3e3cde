"""A store in which every request of a configuration is finished, with tiny files and without any model."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from ssb_core.runs.pipeline import Pipeline
from ssb_core.stages import Spec, evaluate, lineage, rollouts, sources
from ssb_core.stages.directory import DirectorySpec
from ssb_core.stages.execute import parts
from ssb_core.stages.shards import shard_inputs
from ssb_core.store import FileEntry, Manifest, Store, sha256_file, work
from ssb_core.store.files import atomic_write

TOKENS = 10
"""Tokens of every completion."""


def make_all(pipeline: Pipeline, store: Store, seconds: float = 0) -> None:
    """Finish every request of the pipeline, each in so many seconds; every second problem is mixed and taught."""
    for step in pipeline.walk(store):
        for spec in (*parts(step.spec), step.spec):
            make(spec, store, seconds)


def make(spec: Spec, store: Store, seconds: float = 0) -> Manifest:
    """Finish one request, whose upstream requests are finished."""
    store.prepare(spec.recipe)
    files, stats = _directory(spec, store) if isinstance(spec, DirectorySpec) else _shards(spec, store)
    made = Manifest(spec.stage, spec.recipe.hash, spec.fingerprint, tuple(files), sources(spec, store), stats)
    if seconds:
        work.add_seconds(store, spec.recipe, spec.fingerprint, seconds)
    return store.commit(spec.recipe, made)


def _directory(spec: DirectorySpec, store: Store) -> tuple[list[FileEntry], dict[str, Any]]:
    weights = spec.directory(store) / "adapter" / "adapter_model.safetensors"
    weights.parent.mkdir(parents=True)
    with atomic_write(weights) as path:
        path.write_bytes(b"weights")
    entry = FileEntry(f"{spec.fingerprint}/adapter/{weights.name}", weights.stat().st_size, sha256_file(weights))
    return [entry], {"traces": 4, "steps": 8}


def _shards(spec: Spec, store: Store) -> tuple[list[FileEntry], dict[str, Any]]:
    root = spec if isinstance(spec, evaluate.Spec) else next(s for s in lineage(spec) if isinstance(s, rollouts.Spec))
    problems = root.load_problem_set() if isinstance(root, evaluate.Spec) else root.load_wave()
    each: dict[str, float] = {"teach": 0.5}  # every second problem
    each |= {"rollouts": root.rollouts.samples} if isinstance(root, rollouts.Spec) else {"evaluate": root.samples}
    files = []
    for item in shard_inputs(problems, spec.execution.shard_size):
        table = pa.table({"x": [0] * int(len(item.problems) * each.get(spec.stage, 1))})
        ids = [p.id for p in item.problems]
        files.append(store.write_shard(spec.recipe, item.name, table, ids, None).file)
    rows = sum(f.rows for f in files)
    if spec.stage == "select":
        return files, {"mixed": rows // 2, "all_correct": rows - rows // 2}
    if spec.stage == "teach":
        return files, {"taught": rows, "tokens": TOKENS * rows, "written_tokens": TOKENS * rows}
    return files, {"samples": rows, "tokens": TOKENS * rows, "truncated": 0, "engines": ["transformers 5"]}
