"""The frame that sharded stages share: which shards a request has, which are missing, and the commit of new ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..problems import ProblemSet
from ..records import Problem, to_table
from ..store import FileEntry, Manifest, Store
from .execute import Outcome, sources
from .runtime import Input, Runtime, ShardPlan
from .spec import Spec

if TYPE_CHECKING:
    import pyarrow as pa

    from ..engines import Sampler

ENGINE = b"ssb_engine"  # schema metadata of sampled shards


def sampled_table(rows: list[Any], record: type, sampler: Sampler) -> pa.Table:
    """Sampled records as a shard whose metadata names the engine."""
    return to_table(rows, record).replace_schema_metadata({ENGINE: sampler.name})


def run_shards(spec: Spec, store: Store, plan: ShardPlan, runtime: Runtime) -> Outcome:
    """Make the missing shards of a request, and commit its manifest.

    Each shard is written in the background while the next is made, and is committed before the next one is taken. So
    a kill costs two shards at most. An error in writing is raised, as it is, when the next shard is made.
    """
    recipe = spec.recipe
    store.prepare(recipe)
    shards = ((i.name, store.find_shard(recipe, i.name, i.source)) for i in plan.inputs)
    entries = {name: shard and shard.file for name, shard in shards}  # ids are kept in the sidecars alone
    missing = [i for i in plan.inputs if entries[i.name] is None]

    def commit(item: Input, table: pa.Table) -> None:
        ids = [p.id for p in item.problems]
        entries[item.name] = store.write_shard(recipe, item.name, table, ids, item.source).file

    if missing:
        made = runtime.make_shards(spec, store, plan, missing, runtime.progress)
        with closing(made), ThreadPoolExecutor(1, "commit") as background:
            writing: Future[None] | None = None
            for item, table in made:
                if writing:
                    writing.result()
                writing = background.submit(commit, item, table)
            if writing:
                writing.result()
    whole = tuple(e for e in entries.values() if e)
    assert len(whole) == len(plan.inputs), "a stage left shards out"
    manifest = Manifest(spec.stage, recipe.hash, spec.fingerprint, whole, sources(spec, store))
    stats = _sum_up(store, manifest, plan)
    manifest = replace(manifest, stats=stats)
    return Outcome(store.commit(recipe, manifest), len(missing), len(plan.inputs) - len(missing))


def _sum_up(store: Store, manifest: Manifest, plan: ShardPlan) -> dict[str, Any]:
    """The stats of a request, read from one shard after the other. Those of sampled shards name the engines."""
    counts: Counter[str] = Counter()
    engines: set[str] = set()
    for table in store.tables(manifest, plan.columns):
        counts.update(plan.count(table))
        engines.add((table.schema.metadata or {}).get(ENGINE, b"").decode())
    noted = {"engines": sorted(engines - {""})} if engines - {""} else {}
    return dict(sorted(counts.items())) | noted


def shard_inputs(problems: ProblemSet, size: int, upstream: FileEntry | None = None) -> list[Input]:
    """Inputs of `size` problems each, named by their content. All depend on the file `upstream` too, if it is given."""
    return [Input(chunk.content_digest(), chunk, upstream) for chunk in problems.chunks(size)]


def downstream_inputs(upstream: Manifest, store: Store, problems: Sequence[Problem]) -> list[Input]:
    """One input for each shard of the upstream request, with the same name.

    The upstream shards hold `problems` in order, in shards of any size.
    """
    inputs, start = [], 0
    for entry in upstream.files:
        stop = start + len(store.sidecar(upstream, entry).problem_ids)
        inputs.append(Input(Path(entry.path).stem, problems[start:stop], entry))
        start = stop
    assert start == len(problems), "the upstream request is of other problems"
    return inputs
