"""Sampling engines behind one protocol: token ids in, token ids out, one seed per completion."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ..config import Decoding
from ..progress import Progress
from ..prompts import Messages
from ..records import TOO_LONG, Completion

log = logging.getLogger(__name__)

K = TypeVar("K")


@dataclass(frozen=True, slots=True)
class SampleRequest:
    """One completion wanted: what the model reads, and the seed of its draw."""

    prompt_ids: tuple[int, ...]
    seed: int


class Sampler(Protocol):
    """An engine with a model loaded."""

    @property
    def name(self) -> str:
        """What samples, and its version, as shards note it."""
        ...

    def encode(self, messages: Messages) -> tuple[int, ...]:
        """Token ids of chat turns, up to the assistant's."""
        ...

    def fits(self, prompt_ids: Sequence[int], decoding: Decoding) -> bool:
        """Whether the prompt and a full-length completion fit into the model's context."""
        ...

    def sample(
        self, groups: Iterable[tuple[K, Sequence[SampleRequest]]], decoding: Decoding, progress: Progress
    ) -> Iterator[tuple[K, list[Completion]]]:
        """Every group's key with one completion for each of its requests, in their order, as groups get finished.

        Groups are read ahead as far as the engine has room, so the slow tail of one does not idle it; they may
        therefore finish in another order. Advances `progress` by one for each completion.

        Raises:
            EngineError: the engine died or ran out of memory.
        """
        ...

    def close(self) -> None:
        """Free the memory and end the processes of the engine."""
        ...


def seed_for(stage: str, seed: int, problem_id: str, index: int) -> int:
    """The seed of one completion: 63 bits that depend on nothing but the stage, its seed, the problem and the index."""
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
    """As `Sampler.sample`, with the requests beside, and `TOO_LONG` for those that exceed the model's context."""

    def fitting() -> Iterator[tuple[tuple[K, Sequence[SampleRequest], list[bool]], list[SampleRequest]]]:
        for key, requests in groups:
            fits = [sampler.fits(r.prompt_ids, decoding) for r in requests]
            yield (key, requests, fits), [r for r, fit in zip(requests, fits, strict=True) if fit]

    for (key, requests, fits), sampled in sampler.sample(fitting(), decoding, progress):
        answers = iter(sampled)
        progress.advance(fits.count(False))
        yield key, [(r, next(answers) if fit else TOO_LONG) for r, fit in zip(requests, fits, strict=True)]
