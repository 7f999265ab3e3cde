"""What the stages made of shards share: which shards there are, which are missing, and the commit of what gets made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..problems import ProblemSet
from ..progress import Progress
from ..records import Problem, to_table
from ..store import FileEntry, Manifest, Store
from .spec import Outcome, Spec, sources

if TYPE_CHECKING:
    import pyarrow as pa

    from ..engines import Sampler

ENGINE = b"ssb_engine"  # schema metadata of sampled shards


@dataclass(frozen=True, slots=True)
class Input:
    """What one shard is made of: its problems, read when they are asked for, and the upstream file if there is one."""

    name: str
    problems: Sequence[Problem]
    upstream: FileEntry | None = None

    @property
    def source(self) -> str | None:
        return self.upstream.sha256 if self.upstream else None


@dataclass(frozen=True, slots=True)
class Work:
    """How the shards of a request are made.

    `make` gets the inputs whose shards are missing (it is not called for none), takes the next when it has room for it,
    and yields each with its table, in the order in which they get done. Progress is told under `label` in a unit, of
    which an input holds `units`. `counts` counts something in `columns` of one shard; a request's stats are the sums.
    """

    inputs: Sequence[Input]
    make: Callable[[Iterable[Input]], Iterator[tuple[Input, pa.Table]]]
    label: str
    unit: str
    units: Callable[[Input], int]
    columns: list[str]
    counts: Callable[[pa.Table], dict[str, int]]

    def begin(self, missing: Sequence[Input], progress: Progress) -> None:
        """Tell that the work on what is missing begins."""
        units = {i.name: self.units(i) for i in self.inputs}
        total = sum(units.values())
        progress.begin(self.label, total, self.unit, total - sum(units[i.name] for i in missing))


Made = Generator[tuple[Input, "pa.Table"]]
Hands = Callable[[Spec, Store, Work, Sequence[Input], Progress], Made]
"""Makes the missing shards of a request, which it may do anywhere, and yields each as it gets done."""


def alone(spec: Spec, store: Store, work: Work, missing: Sequence[Input], progress: Progress) -> Made:
    """Make the missing shards in this process."""

    def told() -> Iterator[Input]:
        work.begin(missing, progress)  # the model is loaded when the first is taken
        yield from missing

    yield from work.make(told())
    progress.end()


hands: ContextVar[Hands] = ContextVar("hands", default=alone)
"""Who makes missing shards here."""


def sampled_table(rows: list[Any], record: type, sampler: Sampler) -> pa.Table:
    """Sampled records as a shard, which notes the engine."""
    return to_table(rows, record).replace_schema_metadata({ENGINE: sampler.name})


def run_shards(spec: Spec, store: Store, work: Work, progress: Progress) -> Outcome:
    """Have the missing shards of a request made, and commit its manifest.

    Each shard is written in the background while the next is made, and committed before the next is taken: two are in
    hand at most, which is what a kill can cost. What goes wrong in writing is raised as it is when the next is there.
    """
    recipe = spec.recipe
    store.prepare(recipe)
    found = ((i.name, store.find_shard(recipe, i.name, i.source)) for i in work.inputs)
    entries = {name: shard and shard.entry for name, shard in found}  # ids are kept in the sidecars alone
    missing = [i for i in work.inputs if entries[i.name] is None]

    def commit(item: Input, table: pa.Table) -> None:
        ids = [p.id for p in item.problems]
        entries[item.name] = store.write_shard(recipe, item.name, table, ids, item.source).entry

    if missing:
        made = hands.get()(spec, store, work, missing, progress)
        with closing(made), ThreadPoolExecutor(1, "commit") as background:
            writing: Future[None] | None = None
            for item, table in made:
                if writing:
                    writing.result()
                writing = background.submit(commit, item, table)
            if writing:
                writing.result()
    whole = tuple(e for e in entries.values() if e)
    assert len(whole) == len(work.inputs), "a stage left shards out"
    manifest = Manifest(spec.stage, recipe.hash, spec.fingerprint, whole, sources(spec, store))
    stats = _sum_up(store, manifest, work)
    manifest = replace(manifest, stats=stats)
    return Outcome(store.commit(recipe, manifest), len(missing), len(work.inputs) - len(missing))


def _sum_up(store: Store, manifest: Manifest, work: Work) -> dict[str, Any]:
    """The stats of a request, read from its shards one after the other; sampled ones name their engines."""
    counts: Counter[str] = Counter()
    engines: set[str] = set()
    for table in store.tables(manifest, work.columns):
        counts.update(work.counts(table))
        engines.add((table.schema.metadata or {}).get(ENGINE, b"").decode())
    noted = {"engines": sorted(engines - {""})} if engines - {""} else {}
    return dict(sorted(counts.items())) | noted


def shard_inputs(problems: ProblemSet, size: int, upstream: FileEntry | None = None) -> list[Input]:
    """Inputs of `size` problems each, named by content; all of them also read the file `upstream`, if given."""
    return [Input(chunk.digest, chunk, upstream) for chunk in problems.chunks(size)]


def downstream_inputs(upstream: Manifest, store: Store, problems: Sequence[Problem]) -> list[Input]:
    """One input for each shard of the upstream request, under the same name.

    The upstream shards hold `problems` one after the other, whatever their sizes.
    """
    found, start = [], 0
    for entry in upstream.files:
        stop = start + len(store.sidecar(upstream, entry).problem_ids)
        found.append(Input(Path(entry.path).stem, problems[start:stop], entry))
        start = stop
    assert start == len(problems), "the upstream request is of other problems"
    return found
