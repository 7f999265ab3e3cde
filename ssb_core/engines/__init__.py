"""Sampling engines behind one protocol: token ids in, token ids out, one seed per completion."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ..config import Decoding, Execution
from ..models import ResolvedModel
from ..progress import Progress
from ..prompts import Messages
from ..records import Completion


@dataclass(frozen=True, slots=True)
class Request:
    """One completion wanted: what the model reads, and the seed of its draw."""

    prompt_ids: tuple[int, ...]
    seed: int


class Sampler(Protocol):
    """An engine with a model loaded."""

    def encode(self, messages: Messages) -> tuple[int, ...]:
        """Token ids of chat turns, up to the assistant's."""
        ...

    def fits(self, prompt_ids: Sequence[int], decoding: Decoding) -> bool:
        """Whether the prompt and a full-length completion fit into the model's context."""
        ...

    def sample(self, requests: Sequence[Request], decoding: Decoding, progress: Progress) -> list[Completion]:
        """One completion for each request, in order; advances `progress` by one for each."""
        ...


def seed_for(stage: str, seed: int, problem_id: str, index: int) -> int:
    """The seed of one completion: 63 bits that depend on nothing but the stage, its seed, the problem and the index."""
    name = f"{stage}/{seed}/{index}/{problem_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1


@contextlib.contextmanager
def open_sampler(model: ResolvedModel, execution: Execution, adapter: Path | None = None) -> Iterator[Sampler]:
    """Load the model into an engine; its memory is free again at the end of the block."""
    from .transformers_engine import TransformersSampler

    sampler = TransformersSampler(model, execution, adapter)
    try:
        yield sampler
    finally:
        sampler.close()
