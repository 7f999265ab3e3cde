"""Many completions at once, for engines that answer asynchronously: an event loop in a thread of its own."""

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
Tell = Callable[[str], None]


class Loop:
    """A running event loop; a context manager that leaves no task and no thread behind."""

    def __init__(self, name: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name=name, daemon=True)
        self.thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns or raises, once it is done."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()

    def sample(
        self,
        groups: Iterable[tuple[K, Sequence[SampleRequest]]],
        complete: Callable[[SampleRequest, Tell], Awaitable[Completion]],
        in_flight: int,
        progress: Progress,
    ) -> Iterator[tuple[K, list[Completion]]]:
        """`Sampler.sample` over `complete`, of which at most `in_flight` run at once, over several groups.

        `complete` gets what notes a line for the user. `progress` is called in the caller's thread only. Whatever runs
        is cancelled when the caller stops, or when one fails.

        Raises:
            Exception: the first that `complete` or `groups` raised.
        """
        events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        work = _sample(groups, complete, in_flight, progress, events.put)
        run = asyncio.run_coroutine_threadsafe(work, self.loop)
        run.add_done_callback(lambda _: events.put(None))
        try:
            while (event := events.get()) is not None:
                if callable(event):
                    event()
                else:
                    yield event
            run.result()
        except BaseExceptionGroup as e:
            error = _first(e)
            raise error from error.__cause__  # which the group is not
        finally:
            run.cancel()

    def close(self) -> None:
        """Cancel what still runs, wait for its end, and end the thread."""
        self.run(_end_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()


async def _sample(
    groups: Iterable[tuple[K, Sequence[SampleRequest]]],
    complete: Callable[[SampleRequest, Tell], Awaitable[Completion]],
    in_flight: int,
    progress: Progress,
    put: Callable[[Any], None],
) -> None:
    """Put whole groups as they get finished, and what the other thread has to call; read groups as there is room."""
    free = asyncio.Semaphore(in_flight)
    ended = 0  # not told yet: telling of each wakes the other thread so often that both get slower

    def tell(text: str) -> None:
        put(partial(progress.note, text))

    async def one(request: SampleRequest) -> Completion:
        nonlocal ended
        completion = await complete(request, tell)
        free.release()
        if not ended:
            asyncio.get_running_loop().call_soon(tell_of_ended)
        ended += 1
        return completion

    def tell_of_ended() -> None:
        nonlocal ended
        put(partial(progress.advance, ended))
        ended = 0

    async def finish(key: K, running: Sequence[asyncio.Task[Completion]]) -> None:
        put((key, [await task for task in running]))

    async with asyncio.TaskGroup() as tasks:
        for key, requests in groups:
            running = []
            for request in requests:
                await free.acquire()
                running.append(tasks.create_task(one(request)))
            tasks.create_task(finish(key, running))


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _first(group: BaseExceptionGroup[Any]) -> BaseException:
    error: BaseException = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
