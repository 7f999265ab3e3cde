"""The desk between a stage's task and its workers (see `workers`): names of shards go out, tables come back."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

ROOM = 2  # tables that lie on the desk
LINES = 1000  # of logs that lie there; more are lost, for no worker waits to be heard


@dataclass(frozen=True, slots=True)
class Event:
    """What a worker tells: a line of its log, or the table of a shard."""

    worker: int
    line: str = ""
    shard: str = ""
    table: Any = None


class Desk:
    """An actor between a stage's task and its workers. Every name is waiting, with one worker, or handed in."""

    def __init__(self) -> None:
        self.waiting: deque[str] = deque()
        self.held: dict[int, set[str]] = {}
        self.first = 0
        self.events: asyncio.Queue[Event] = asyncio.Queue()
        self.room = asyncio.Semaphore(ROOM)

    async def lay(self, names: Sequence[str], first: int) -> None:
        """Lay out what is to be made, by workers from number `first` on; whatever there was is forgotten."""
        self.waiting, self.held, self.first = deque(names), {}, first
        self.events, self.room = asyncio.Queue(), asyncio.Semaphore(ROOM)

    async def take(self, worker: int) -> str | None:
        """The name of a shard to make; None when no more are waiting, or the worker is of an earlier request."""
        if not self.waiting or worker < self.first:
            return None
        name = self.waiting.popleft()
        self.held.setdefault(worker, set()).add(name)
        return name

    async def hand_in(self, worker: int, name: str, table: pa.Table) -> None:
        """Take a shard that is done; returns when there is room for it."""
        room = self.room
        await room.acquire()
        if name in self.held.get(worker, ()):  # else its worker was believed dead, and another has it
            self.held[worker].remove(name)
            self.events.put_nowait(Event(worker, shard=name, table=table))
        else:
            room.release()

    async def tell(self, worker: int, line: str) -> None:
        """Take a line; nothing waits for it to be read, or the desk would be full of who waits."""
        if self.events.qsize() < LINES:
            self.events.put_nowait(Event(worker, line))

    async def next(self, seconds: float) -> Event | None:
        """The next event, if there is one in time."""
        with suppress(TimeoutError):
            event = await asyncio.wait_for(self.events.get(), seconds)
            if event.shard:
                self.room.release()
            return event
        return None

    async def give_back(self, worker: int) -> tuple[list[str], int]:
        """Put what a worker that ended has in hand in front of what is waiting; its names, and how many wait then."""
        lost = sorted(self.held.pop(worker, ()))
        self.waiting.extendleft(lost)
        return lost, len(self.waiting)
