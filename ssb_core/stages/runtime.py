"""The `Runtime` of a stage: its progress listener, its loaded engine, and the function that makes missing shards."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..engines import LoadedEngine
from ..progress import Progress
from ..records import Problem
from ..store import FileEntry, Store
from .spec import Spec

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Input:
    """The input of one shard: its problems, which are read when they are used, and its upstream file, if it has one."""

    name: str
    problems: Sequence[Problem]
    upstream: FileEntry | None = None

    @property
    def source(self) -> str | None:
        """The checksum of the upstream file."""
        return self.upstream.sha256 if self.upstream else None


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """The plan by which the shards of a request are made.

    `make` gets the inputs whose shards are missing and yields each with its table, in the order in which they get done.
    It takes the next input when the engine has room for it, and is not called if nothing is missing. Progress is
    reported under `label` in a `unit`; ``units(input)`` says how many of these an input has. `count` counts something
    in `columns` of one shard; the stats of a request are the sums.
    """

    inputs: Sequence[Input]
    make: Callable[[Iterable[Input]], Iterator[tuple[Input, pa.Table]]]
    label: str
    unit: str
    units: Callable[[Input], int]
    columns: list[str]
    count: Callable[[pa.Table], dict[str, int]]

    def begin(self, missing: Sequence[Input], progress: Progress) -> None:
        """Report that work on the missing shards begins."""
        units = {i.name: self.units(i) for i in self.inputs}
        total = sum(units.values())
        progress.begin(self.label, total, self.unit, total - sum(units[i.name] for i in missing))


MadeShards = Generator[tuple[Input, "pa.Table"]]
ShardMaker = Callable[[Spec, Store, ShardPlan, Sequence[Input], Progress], MadeShards]
"""Makes the missing shards of a request, here or elsewhere, and yields each as it gets done."""


def make_here(spec: Spec, store: Store, plan: ShardPlan, missing: Sequence[Input], progress: Progress) -> MadeShards:
    """Make the missing shards in this process."""

    def inputs() -> Iterator[Input]:
        plan.begin(missing, progress)  # the model is loaded when the first input is taken
        yield from missing

    yield from plan.make(inputs())
    progress.end()


@dataclass(frozen=True, slots=True)
class Runtime:
    """The listener, the engine and the shard maker that a stage uses. None of them changes a result."""

    progress: Progress = field(default_factory=Progress)
    engines: LoadedEngine = field(default_factory=lambda: LoadedEngine(keep=False))
    make_shards: ShardMaker = make_here
