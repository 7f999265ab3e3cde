"""The protocol of all engines: token ids in, token ids out, one seed for each completion.

An engine implements `Sampler`; `BaseSampler` in base.py has `encode` and `fits`. Stages build requests with
`requests_for` and sample them with `complete`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..config import Decoding
from ..progress import Progress
from ..prompts import Messages
from ..records import TOO_LONG, Completion

K = TypeVar("K")
"""The key of a group of requests. An engine returns it and never reads it."""


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """A request for one completion: the prompt's token ids, and the seed of its draws (63 bits)."""

    prompt_ids: tuple[int, ...]
    seed: int


class Sampler(Protocol):
    """An engine with a model loaded.

    The same request must give the same completion whatever else is sampled beside it. `seeded_draw` has the draw that
    all engines share. An engine that draws otherwise must say so in its `name`.
    """

    @property
    def name(self) -> str:
        """The engine and its version, e.g. ``transformers 5.0``. Every shard records it."""
        ...

    def encode(self, messages: Messages) -> tuple[int, ...]:
        """The token ids of `messages` with the model's chat template, up to the beginning of the assistant's turn."""
        ...

    def fits(self, prompt_ids: Sequence[int], decoding: Decoding) -> bool:
        """Whether the prompt and `max_new_tokens` fit into the model's context."""
        ...

    def sample(
        self, groups: Iterable[tuple[K, Sequence[SampleRequest]]], decoding: Decoding, progress: Progress
    ) -> Iterator[tuple[K, list[Completion]]]:
        """Yield each group's key with one completion for each of its requests, in the order of the requests.

        `completion_ids` are the ids that were sampled. They end with an end-of-turn token and `finish_reason` is
        ``stop``, or there are `max_new_tokens` of them and it is ``length``. All requests fit (see `fits`).

        Read groups ahead only as far as the engine has room: far enough that the slow end of one group does not idle
        it, but no further, because a kill loses every group that was read and not yielded. Groups may be yielded in
        another order. Advance `progress` by one for each completion, in the caller's thread.

        Raises:
            EngineError: the engine died or ran out of memory.
        """
        ...

    def close(self) -> None:
        """Free the engine's memory and end its processes."""
        ...


def seed_for(stage: str, seed: int, problem_id: str, index: int) -> int:
    """The seed of one completion: 63 bits that depend on the stage, its seed, the problem and the index alone."""
    name = f"{stage}/{seed}/{index}/{problem_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1


def requests_for(
    sampler: Sampler, messages: Messages, stage: str, seed: int, problem_id: str, n: int
) -> list[SampleRequest]:
    """Requests for `n` completions of one prompt, each with the seed of its index."""
    prompt_ids = sampler.encode(messages)
    return [SampleRequest(prompt_ids, seed_for(stage, seed, problem_id, index)) for index in range(n)]


def complete(
    sampler: Sampler, groups: Iterable[tuple[K, Sequence[SampleRequest]]], decoding: Decoding, progress: Progress
) -> Iterator[tuple[K, list[tuple[SampleRequest, Completion]]]]:
    """Sample as `Sampler.sample` does, and yield each completion with its request.

    A request that does not fit into the context is not sampled; its completion is `TOO_LONG`.
    """

    def fitting() -> Iterator[tuple[tuple[K, Sequence[SampleRequest], list[bool]], list[SampleRequest]]]:
        for key, requests in groups:
            fits = [sampler.fits(r.prompt_ids, decoding) for r in requests]
            yield (key, requests, fits), [r for r, fit in zip(requests, fits, strict=True) if fit]

    for (key, requests, fits), completions in sampler.sample(fitting(), decoding, progress):
        sampled = iter(completions)
        progress.advance(fits.count(False))
        yield key, [(r, next(sampled) if fit else TOO_LONG) for r, fit in zip(requests, fits, strict=True)]
