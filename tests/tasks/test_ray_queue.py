"""The desk between a stage's task and its workers, as an object of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tasks.ray_queue import LINES, ROOM, Desk

SECONDS = 10


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """In a thread of its own: that of the tests may have a loop already, for the browser."""
    with ThreadPoolExecutor() as thread:
        return thread.submit(asyncio.run, work).result(SECONDS)


def test_no_number_of_lines_keeps_a_table_from_the_desk() -> None:
    async def talk() -> tuple[int, list[str]]:
        desk = Desk()
        await desk.lay(["a"], 0)
        assert await desk.take(1) == "a"
        for n in range(3 * LINES):
            await desk.tell(1, f"line {n}")
        await desk.hand_in(1, "a", "table of a")
        events = [await desk.next(1) for _ in range(LINES + 1)]
        return sum(bool(e and e.line) for e in events), [e.shard for e in events if e and e.shard]

    assert run(talk()) == (LINES, ["a"])


def test_tables_wait_for_room_and_what_waits_is_still_in_hand() -> None:
    async def fill() -> None:
        desk = Desk()
        names = [str(n) for n in range(ROOM + 1)]
        await desk.lay(names, 0)
        for _ in names:
            await desk.take(1)
        waiting = [asyncio.create_task(desk.hand_in(1, name, name)) for name in names]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [t.done() for t in waiting] == [True] * ROOM + [False]
        assert await desk.give_back(1) == ([names[-1]], 1)  # its worker died: another makes it
        for _ in range(ROOM):
            await desk.next(1)
        await waiting[-1]
        assert await desk.next(0.01) is None

    run(fill())


@pytest.mark.parametrize("worker", [1, 2])
def test_a_worker_of_an_earlier_request_gets_nothing(worker: int) -> None:
    async def take() -> str | None:
        desk = Desk()
        await desk.lay(["a"], 2)
        return await desk.take(worker)

    assert run(take()) == (None if worker < 2 else "a")


def test_what_a_dead_worker_had_in_hand_goes_to_the_next_one_and_is_taken_once() -> None:
    async def day() -> None:
        desk = Desk()
        await desk.lay(["a", "b", "c"], 0)
        assert [await desk.take(1), await desk.take(2)] == ["a", "b"]
        assert await desk.give_back(1) == (["a"], 2)
        await desk.hand_in(1, "a", "table")  # sent before it died, read afterwards
        assert await desk.next(0.1) is None
        assert [await desk.take(2), await desk.take(2), await desk.take(2)] == ["a", "c", None]
        await desk.hand_in(2, "a", "table")
        event = await desk.next(0.1)
        assert event and (event.worker, event.shard) == (2, "a")
        assert await desk.give_back(2) == (["b", "c"], 2)

    run(day())
