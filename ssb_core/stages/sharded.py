"""What the stages made of shards share: which shards there are, which are missing, and the commit of what gets made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..problems import ProblemSet
from ..records import Problem, to_table
from ..store import Entry, Manifest, Store
from . import Outcome, Spec, sources

if TYPE_CHECKING:
    import pyarrow as pa

    from ..engines import Sampler

ENGINE = b"ssb_engine"  # schema metadata of sampled shards


@dataclass(frozen=True, slots=True)
class Input:
    """What one shard is made of: its problems, read when they are asked for, and the upstream file if there is one."""

    name: str
    problems: Sequence[Problem]
    upstream: Entry | None = None

    @property
    def source(self) -> str | None:
        return self.upstream.sha256 if self.upstream else None


@dataclass(frozen=True, slots=True)
class Work:
    """How the shards of a request are made.

    `make` gets the inputs whose shards are missing (it is not called for none) and yields each with its table, in the
    order in which they get done. `facts` counts something in `columns` of one shard; a request's facts are the sums.
    """

    inputs: Sequence[Input]
    make: Callable[[Sequence[Input]], Iterator[tuple[Input, pa.Table]]]
    columns: list[str]
    facts: Callable[[pa.Table], dict[str, int]]


def sampled_table(rows: list[Any], record: type, sampler: Sampler) -> pa.Table:
    """Sampled records as a shard, which notes the engine."""
    return to_table(rows, record).replace_schema_metadata({ENGINE: sampler.name})


def run_shards(spec: Spec, store: Store, work: Work) -> Outcome:
    """Make the missing shards of a request and commit its manifest.

    Each shard is written in the background while the next is made, and committed before the next is taken: two are in
    hand at most, which is what a kill can cost. What goes wrong in writing is raised as it is when the next is there.
    """
    recipe = spec.recipe
    store.open(recipe)
    found = ((i.name, store.shard(recipe, i.name, i.source)) for i in work.inputs)
    made = {name: shard and shard.entry for name, shard in found}  # entries alone: ids are kept in the sidecars
    missing = [i for i in work.inputs if made[i.name] is None]

    def commit(item: Input, table: pa.Table) -> None:
        ids = [p.id for p in item.problems]
        made[item.name] = store.write_shard(recipe, item.name, table, ids, item.source).entry

    if missing:
        with ThreadPoolExecutor(1, "commit") as background:
            writing: Future[None] | None = None
            for item, table in work.make(missing):
                if writing:
                    writing.result()
                writing = background.submit(commit, item, table)
            if writing:
                writing.result()
    entries = tuple(e for e in made.values() if e)
    assert len(entries) == len(work.inputs), "a stage left shards out"
    manifest = Manifest(spec.stage, recipe.hash, spec.fingerprint, entries, sources(spec, store))
    facts = _sum_up(store, manifest, work)
    manifest = replace(manifest, facts=facts)
    return Outcome(store.commit(recipe, manifest), len(missing), len(work.inputs) - len(missing))


def _sum_up(store: Store, manifest: Manifest, work: Work) -> dict[str, Any]:
    """The facts of a request, read from its shards one after the other; sampled ones name their engines."""
    counts: Counter[str] = Counter()
    engines: set[str] = set()
    for table in store.tables(manifest, work.columns):
        counts.update(work.facts(table))
        engines.add((table.schema.metadata or {}).get(ENGINE, b"").decode())
    noted = {"engines": sorted(engines - {""})} if engines - {""} else {}
    return dict(sorted(counts.items())) | noted


def shard_inputs(problems: ProblemSet, size: int, upstream: Entry | None = None) -> list[Input]:
    """Inputs of `size` problems each, named by content; all of them also read the file `upstream`, if given."""
    return [Input(chunk.digest, chunk, upstream) for chunk in problems.chunks(size)]


def downstream_inputs(upstream: Manifest, store: Store, problems: Sequence[Problem]) -> list[Input]:
    """One input for each shard of the upstream request, under the same name.

    The upstream shards hold `problems` one after the other, whatever their sizes.
    """
    found, start = [], 0
    for entry in upstream.entries:
        stop = start + len(store.sidecar(upstream, entry).problem_ids)
        found.append(Input(Path(entry.path).stem, problems[start:stop], entry))
        start = stop
    assert start == len(problems), "the upstream request is of other problems"
    return found
