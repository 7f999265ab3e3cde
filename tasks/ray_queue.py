"""The queue between a stage's task and its workers (see `ray_workers`): shard names go out, tables come back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

MAX_TABLES = 2  # finished tables that the queue holds; put_result waits while it is full
MAX_LINES = 1000  # log lines that the queue holds; further lines are dropped, because no worker waits for a reader


@dataclass(frozen=True, slots=True)
class Event:
    """A message from a worker: a line of its log, or the table of a finished shard."""

    worker: int
    line: str = ""
    shard: str = ""
    table: Any = None


class ShardQueue:
    """An actor between a stage's task and its workers. Every shard is waiting, assigned to one worker, or finished."""

    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.assigned: dict[int, set[str]] = {}
        self.first_worker = 0
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.table_slots = asyncio.Semaphore(MAX_TABLES)

    async def put_all(self, names: Sequence[str], first_worker: int) -> None:
        """Start a new request: replace everything in the queue by these shards, for workers from `first_worker` on."""
        self.waiting, self.assigned, self.first_worker = deque(names), {}, first_worker
        self.events, self.table_slots = asyncio.Queue(), asyncio.Semaphore(MAX_TABLES)

    async def get(self, worker: int) -> str | None:
        """The next shard to make, or None if none is waiting or the worker belongs to an earlier request."""
        if not self.waiting or worker < self.first_worker:
            return None
        name = self.waiting.popleft()
        self.assigned.setdefault(worker, set()).add(name)
        return name

    async def put_result(self, worker: int, name: str, table: pa.Table) -> None:
        """Accept a finished shard. Waits while the queue holds `MAX_TABLES` tables."""
        slots = self.table_slots
        await slots.acquire()
        if name in self.assigned.get(worker, ()):
            self.assigned[worker].remove(name)
            self.events.put_nowait(Event(worker, shard=name, table=table))
        else:  # the worker counts as dead, and another one makes this shard
            slots.release()

    async def put_line(self, worker: int, line: str) -> None:
        """Accept a log line. Never waits for it to be read: waiting workers would fill the queue."""
        if self.events.qsize() < MAX_LINES:
            self.events.put_nowait(Event(worker, line))

    async def next_event(self, seconds: float) -> Event | None:
        """The next event, or None if there is none within `seconds`."""
        with suppress(TimeoutError):
            event = await asyncio.wait_for(self.events.get(), seconds)
            if event.shard:
                self.table_slots.release()
            return event
        return None

    async def give_back(self, worker: int) -> tuple[list[str], int]:
        """Put the shards of a worker that ended at the front of the queue.

        Returns their names, and how many shards are waiting now.
        """
        lost = sorted(self.assigned.pop(worker, ()))
        self.waiting.extendleft(lost)
        return lost, len(self.waiting)
