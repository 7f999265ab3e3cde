"""Problem files and stores of any size, made on the fly, and what they cost the process that runs the pipeline.

``python -m tests.bench.scale memory N`` and ``... store N`` print figures as JSON; each size needs its own process.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ssb_core.config import presets
from ssb_core.records import Rollout, to_table
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import plan
from ssb_core.stages import Input, Runtime, finished, rollouts, select
from ssb_core.stages.shards import run_shards
from ssb_core.store import Manifest, Sidecar, Store
from tests.support.problem_files import write_problems

if TYPE_CHECKING:
    import pyarrow as pa

TOKENS, CHARACTERS = 200, 600  # of a synthetic rollout
BATCH = 10_000
WRITTEN = 100  # shards that are committed as a stage does it, for their time
T = TypeVar("T")


def pipeline(source: Path, n: int, *settings: str) -> Pipeline:
    """All of `n` problems as one wave of the embedded model; the store lies beside them."""
    own = (f"problems.source={source}", "problems.id=id", "problems.limit=null", "problems.shuffle_seed=1")
    overrides = [*own, f"target_traces={n}", *settings]
    return Pipeline.of(presets.load_config("quickstart", overrides=overrides), source.with_name("store"))


def memory(folder: Path, n: int) -> dict[str, Any]:
    """Seconds and memory until the first of `n` problems could be sampled."""
    source, store, seconds = write_problems(folder / "problems.jsonl", n), Store(folder / "store"), Seconds()
    planned_run = seconds.of("read", lambda: pipeline(source, n))
    planned = seconds.of("plan", lambda: plan(planned_run, store))
    wave = planned_run.wave(0, n)
    shards = seconds.of("work", lambda: rollouts.plan_shards(wave.rollouts, store, Runtime()))
    assert planned[0].status == "missing" and sum(len(i.problems) for i in shards.inputs) == n
    used = {"processor": sum(seconds.cpu.values()), "peak MB": peak() / 1e6}
    return {"problems": n, "shards": len(shards.inputs)} | seconds.wall | used


def store(folder: Path, n: int) -> dict[str, Any]:
    """Seconds of what is done with a store of `n` shards of rollouts, of one problem each, and memory."""
    source, held, seconds = write_problems(folder / "problems.jsonl", n), Store(folder / "store"), Seconds()
    planned_run = pipeline(source, n, "execution.shard_size=1")
    wave = planned_run.wave(0, n)
    spec, shards = wave.rollouts, rollouts.plan_shards(wave.rollouts, held, Runtime())
    written = min(n, WRITTEN)
    seconds.of("write", lambda: write(held, spec, shards.inputs[:written]))
    manifest = fill(held, spec, shards.inputs)
    seconds.of("commit", lambda: held.commit(spec.recipe, manifest))
    assert seconds.of("check", lambda: finished(spec, held)) == manifest
    assert seconds.of("plan", lambda: plan(planned_run, held))[0].status == "cached"
    following = seconds.of("next stage", lambda: select.plan_shards(wave.select, held, Runtime()))
    assert [i.name for i in following.inputs] == [i.name for i in shards.inputs]

    def resume(missing: int) -> None:
        outcome = run_shards(spec, held, replace(shards, make=remake), Runtime())
        assert (outcome.made, outcome.reused) == (missing, n - missing)

    seconds.of("resume", lambda: resume(0))
    (held.directory(spec.recipe) / "shards" / f"{shards.inputs[n // 2].name}.json").unlink()
    seconds.of("remake one", lambda: resume(1))
    kept = sum(e.bytes for e in manifest.files) / n
    each = seconds.wall.pop("write") / written
    return {"shards": n, "wall": seconds.wall, "cpu": seconds.cpu, "peak": peak(), "bytes": kept, "write": each}


def write(held: Store, spec: rollouts.Spec, inputs: Sequence[Input]) -> None:
    """Commit shards as a stage does."""
    held.prepare(spec.recipe)
    for item in inputs:
        held.write_shard(spec.recipe, item.name, rows(item), [p.id for p in item.problems], None)


def fill(held: Store, spec: rollouts.Spec, inputs: Sequence[Input]) -> Manifest:
    """Put a shard for every input there, all with the rows of the first: waiting for the disk would take an hour."""
    first = held.find_shard(spec.recipe, inputs[0].name, None)
    assert first
    shards, entries = held.directory(spec.recipe) / "shards", []
    whole = shards / Path(first.file.path).name
    table = whole.read_bytes()
    for number, item in enumerate(inputs):
        path = shards / f"{item.name}.parquet"
        path.unlink(missing_ok=True)
        if number % BATCH:  # a file may not have any number of names
            os.link(whole, path)
        else:
            path.write_bytes(table)
            whole = path
        entries.append(replace(first.file, path=f"shards/{path.name}"))
        sidecar = Sidecar(entries[-1], tuple(p.id for p in item.problems), None)
        path.with_suffix(".json").write_text(json.dumps(sidecar.content(), indent=1) + "\n")
    return Manifest(spec.stage, spec.recipe.hash, spec.fingerprint, tuple(entries))


def rows(item: Input) -> pa.Table:
    """Four rollouts of each problem."""
    ids = tuple(range(TOKENS))
    every = (
        Rollout(
            problem_id=p.id,
            index=index,
            prompt_ids=ids[:80],
            completion_ids=ids,
            text="x" * CHARACTERS,
            finish_reason="stop",
            seed=index,
        )
        for p in item.problems
        for index in range(4)
    )
    return to_table(list(every), Rollout)


def remake(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
    return ((item, rows(item)) for item in missing)


def peak() -> int:
    """The most bytes of memory that this process has had."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


class Seconds:
    """What steps take: by the clock, and of the processor, which other processes do not slow down."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = {}
        self.cpu: dict[str, float] = {}

    def of(self, name: str, step: Callable[[], T]) -> T:
        wall, cpu = time.perf_counter(), time.process_time()
        result = step()
        self.wall[name], self.cpu[name] = time.perf_counter() - wall, time.process_time() - cpu
        return result


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ssb-scale-") as scratch:
        print(json.dumps({"memory": memory, "store": store}[sys.argv[1]](Path(scratch), int(sys.argv[2]))))
