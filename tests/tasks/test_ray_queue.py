"""ShardQueue, the queue between a stage's task and its Ray workers, tested as a plain object without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tasks.ray_queue import MAX_LINES, MAX_TABLES, ShardQueue

SECONDS = 10


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run it in a thread of its own: the tests' thread may already have an event loop, for the browser."""
    with ThreadPoolExecutor() as thread:
        return thread.submit(asyncio.run, coroutine).result(SECONDS)


def test_log_lines_never_block_a_table() -> None:
    async def fill_with_lines() -> tuple[int, list[str]]:
        queue = ShardQueue()
        await queue.put_all(["a"], 0)
        assert await queue.get(1) == "a"
        for n in range(3 * MAX_LINES):
            await queue.put_line(1, f"line {n}")
        await queue.put_result(1, "a", "table of a")
        events = [await queue.next_event(1) for _ in range(MAX_LINES + 1)]
        return sum(bool(e and e.line) for e in events), [e.shard for e in events if e and e.shard]

    assert run(fill_with_lines()) == (MAX_LINES, ["a"])


def test_put_result_waits_for_a_slot_and_the_shard_stays_assigned_until_then() -> None:
    async def fill_with_tables() -> None:
        queue = ShardQueue()
        names = [str(n) for n in range(MAX_TABLES + 1)]
        await queue.put_all(names, 0)
        for _ in names:
            await queue.get(1)
        puts = [asyncio.create_task(queue.put_result(1, name, name)) for name in names]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [t.done() for t in puts] == [True] * MAX_TABLES + [False]
        assert await queue.give_back(1) == ([names[-1]], 1)  # its worker died: another makes it
        for _ in range(MAX_TABLES):
            await queue.next_event(1)
        await puts[-1]
        assert await queue.next_event(0.01) is None

    run(fill_with_tables())


@pytest.mark.parametrize("worker", [1, 2])
def test_a_worker_of_an_earlier_request_gets_nothing(worker: int) -> None:
    async def get() -> str | None:
        queue = ShardQueue()
        await queue.put_all(["a"], 2)
        return await queue.get(worker)

    assert run(get()) == (None if worker < 2 else "a")


def test_shards_of_a_dead_worker_go_to_the_next_one_and_are_accepted_once() -> None:
    async def lose_a_worker() -> None:
        queue = ShardQueue()
        await queue.put_all(["a", "b", "c"], 0)
        assert [await queue.get(1), await queue.get(2)] == ["a", "b"]
        assert await queue.give_back(1) == (["a"], 2)
        await queue.put_result(1, "a", "table")  # sent before it died, read afterwards
        assert await queue.next_event(0.1) is None
        assert [await queue.get(2), await queue.get(2), await queue.get(2)] == ["a", "c", None]
        await queue.put_result(2, "a", "table")
        event = await queue.next_event(0.1)
        assert event and (event.worker, event.shard) == (2, "a")
        assert await queue.give_back(2) == (["b", "c"], 2)

    run(lose_a_worker())
