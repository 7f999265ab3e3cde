"""The frame of the sharded stages: a shard is written while the next is made, never more than one behind."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pytest

from ssb_core.problems import ProblemSet, content_digest
from ssb_core.records import Problem
from ssb_core.stages import Input, Outcome, Runtime, ShardPlan, Spec
from ssb_core.stages.shards import run_shards, shard_inputs
from ssb_core.store import Sidecar, Store

PROBLEMS = ProblemSet.of(Problem(f"p{i}", f"What is {i} + 1?", str(i + 1)) for i in range(4))
INPUTS = shard_inputs(PROBLEMS, 1)
PATIENCE = 60  # seconds


class Request(Spec):
    """Rows of one number for every problem."""

    stage: ClassVar[str] = "sums"
    version: ClassVar[int] = 1

    def recipe_content(self) -> dict[str, Any]:
        return {}

    def inputs(self) -> list[str]:
        return [content_digest(PROBLEMS)]


def table(item: Input) -> pa.Table:
    return pa.table({"x": [int(p.answer) for p in item.problems]})


def run(store: Store, make: Any) -> Outcome:
    def count(rows: pa.Table) -> dict[str, int]:
        return {"sum": sum(rows["x"].to_pylist())}

    return run_shards(Request(), store, ShardPlan(INPUTS, make, "sums", "rows", lambda i: 1, ["x"], count), Runtime())


def finished(store: Store) -> list[int]:
    """The numbers of the inputs that have a finished shard."""
    names = store.shard_names(Request().recipe)
    return [n for n, i in enumerate(INPUTS) if i.name in names]


def test_a_shard_is_written_while_the_next_is_made_and_never_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, write = [i.name for i in INPUTS], Store.write_shard
    taken = {name: threading.Event() for name in [*names, "the end"]}
    following = dict(zip(names, [*names[1:], "the end"], strict=True))
    store, order = Store(tmp_path), list[str]()

    def slow(self: Store, recipe: Any, name: str, *rest: Any) -> Sidecar:
        assert taken[following[name]].wait(PATIENCE), "the next shard is taken only afterwards"
        order.append(name)
        return write(self, recipe, name, *rest)

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        for n, item in enumerate(missing):
            taken[item.name].set()
            assert len(finished(store)) >= n - 1
            yield item, table(item)
        taken["the end"].set()

    monkeypatch.setattr(Store, "write_shard", slow)
    outcome = run(store, make)
    assert order == names and finished(store) == [0, 1, 2, 3]
    assert outcome.manifest.stats == {"sum": 10} and [e.rows for e in outcome.manifest.files] == [1] * 4


def test_an_error_in_writing_is_raised_as_it_is_when_the_next_shard_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, write = [], Store.write_shard

    def full(self: Store, recipe: Any, name: str, *rest: Any) -> Sidecar:
        if name == INPUTS[1].name:
            raise OSError(28, "No space left on device")
        return write(self, recipe, name, *rest)

    def make(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        for n, item in enumerate(missing):
            taken.append(n)
            yield item, table(item)

    monkeypatch.setattr(Store, "write_shard", full)
    with pytest.raises(OSError, match="No space left"):
        run(Store(tmp_path), make)
    assert taken == [0, 1, 2] and finished(Store(tmp_path)) == [0]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_a_shard_that_is_being_written_is_finished_if_making_the_next_fails(
    error: type[BaseException], tmp_path: Path
) -> None:
    def broken(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        yield from ((i, table(i)) for i in islice(missing, 2))
        raise error

    def whole(missing: Iterable[Input]) -> Iterator[tuple[Input, pa.Table]]:
        yield from ((i, table(i)) for i in missing)

    store = Store(tmp_path)
    with pytest.raises(error):
        run(store, broken)
    assert finished(store) == [0, 1]
    outcome = run(store, whole)
    assert (outcome.made, outcome.reused) == (2, 2)
