"""Sampling with engines that answer asynchronously: many completions at once, in an event loop in its own thread."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

from ..progress import Progress
from ..records import Completion
from .sampler import K, SampleRequest

T = TypeVar("T")
Note = Callable[[str], None]
"""Takes a line for the user."""

CompleteOne = Callable[[SampleRequest, Note], Awaitable[Completion]]


class AsyncLoop:
    """A running event loop. A context manager that leaves no task and no thread behind."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self.thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Wait for `coroutine`, and return or raise its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    def sample(
        self,
        groups: Iterable[tuple[K, Sequence[SampleRequest]]],
        complete_one: CompleteOne,
        in_flight: int,
        progress: Progress,
    ) -> Iterator[tuple[K, list[Completion]]]:
        """`Sampler.sample` with `complete_one`, at most `in_flight` at once, over several groups.

        `progress` is called in the caller's thread only. Everything that still runs is cancelled when the caller stops,
        or when one completion fails.

        Raises:
            Exception: the first exception that `complete_one` or `groups` raised.
        """
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        coroutine = _sample(groups, complete_one, in_flight, progress, events.put)
        run = asyncio.run_coroutine_threadsafe(coroutine, self.loop)
        run.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                if callable(event):
                    event()
                else:
                    yield event
            run.result()
        except BaseExceptionGroup as e:
            error = _first_error(e)
            raise error from error.__cause__  # not from the group
        finally:
            run.cancel()

    def close(self) -> None:
        """Cancel all running tasks, wait for their end, and end the thread."""
        self.run(_cancel_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def _sample(
    groups: Iterable[tuple[K, Sequence[SampleRequest]]],
    complete_one: CompleteOne,
    in_flight: int,
    progress: Progress,
    put: Callable[[Any], None],
) -> None:
    """Read groups as slots get free. Put finished groups, and functions that the caller's thread must call."""
    slots = asyncio.Semaphore(in_flight)
    unreported = 0  # completions are reported several at once: waking the other thread for each slows both down

    def note(text: str) -> None:
        put(partial(progress.note, text))

    async def run_one(request: SampleRequest) -> Completion:
        nonlocal unreported
        completion = await complete_one(request, note)
        slots.release()
        if not unreported:
            asyncio.get_running_loop().call_soon(report)
        unreported += 1
        return completion

    def report() -> None:
        nonlocal unreported
        put(partial(progress.advance, unreported))
        unreported = 0

    async def finish(key: K, running: Sequence[asyncio.Task[Completion]]) -> None:
        put((key, [await task for task in running]))

    async with asyncio.TaskGroup() as tasks:
        for key, requests in groups:
            running = []
            for request in requests:
                await slots.acquire()
                running.append(tasks.create_task(run_one(request)))
            tasks.create_task(finish(key, running))


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _first_error(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group.exceptions[0]
    return _first_error(error) if isinstance(error, BaseExceptionGroup) else error
