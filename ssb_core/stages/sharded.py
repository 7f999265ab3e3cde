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

from ..problems import content_digest
from ..progress import Progress
from ..records import Problem, to_table
from ..store import Entry, Manifest, Store
from . import Outcome, Spec, sources

if TYPE_CHECKING:
    import pyarrow as pa

    from ..engines import Sampler

ENGINE = b"ssb_engine"  # schema metadata of sampled shards


@dataclass(frozen=True, slots=True)
class Input:
    """What one shard is made of: its problems, and the upstream file (and its checksum) if there is one."""

    name: str
    problems: tuple[Problem, ...]
    upstream: Entry | None = None

    @property
    def source(self) -> str | None:
        return self.upstream.sha256 if self.upstream else None


@dataclass(frozen=True, slots=True)
class Work:
    """How the shards of a request are made.

    `make` gets the inputs whose shards are missing (it is not called for none), takes the next when it has room for it,
    and yields each with its table, in the order in which they get done. Progress is told under `label` in a unit, of
    which an input holds `units`. `facts` counts something in `columns` of one shard; a request's facts are the sums.
    """

    inputs: Sequence[Input]
    make: Callable[[Iterable[Input]], Iterator[tuple[Input, pa.Table]]]
    label: str
    unit: str
    units: Callable[[Input], int]
    columns: list[str]
    facts: Callable[[pa.Table], dict[str, int]]

    def begin(self, missing: Sequence[Input], progress: Progress) -> None:
        """Tell that the work on what is missing begins."""
        total, left = (sum(map(self.units, some)) for some in (self.inputs, missing))
        progress.begin(self.label, total, self.unit, total - left)


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
    store.open(recipe)
    shards = {i.name: store.shard(recipe, i.name, i.source) for i in work.inputs}
    missing = [i for i in work.inputs if shards[i.name] is None]

    def commit(item: Input, table: pa.Table) -> None:
        shards[item.name] = store.write_shard(recipe, item.name, table, [p.id for p in item.problems], item.source)

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
    entries = tuple(s.entry for s in shards.values() if s)
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


def shard_inputs(problems: Sequence[Problem], size: int, upstream: Entry | None = None) -> list[Input]:
    """Inputs of `size` problems each, named by content; all of them also read the file `upstream`, if given."""
    chunks = [tuple(problems[i : i + size]) for i in range(0, len(problems), size)]
    return [Input(content_digest(c), c, upstream) for c in chunks]


def downstream_inputs(upstream: Manifest, store: Store, problems: Sequence[Problem]) -> list[Input]:
    """One input for each shard of the upstream request, under the same name."""
    by_id = {p.id: p for p in problems}
    found = []
    for entry in upstream.entries:
        shard = store.sidecar(upstream, entry)
        found.append(Input(Path(entry.path).stem, tuple(by_id[i] for i in shard.problem_ids), entry))
    return found
