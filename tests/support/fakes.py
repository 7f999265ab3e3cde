"""The only fake of the suite: a sampler that answers with texts that a test gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from ssb_core.config import Decoding
from ssb_core.engines import K, SampleRequest
from ssb_core.progress import Progress
from ssb_core.prompts import Messages
from ssb_core.records import Completion


class FakeSampler:
    """Encodes text as its characters' codes and answers with `reply(prompt text, seed)`."""

    def __init__(self, reply: Callable[[str, int], Completion], context: int = 10_000) -> None:
        self.reply = reply
        self.context = context

    @property
    def name(self) -> str:
        return "fake"

    def encode(self, messages: Messages) -> tuple[int, ...]:
        return tuple(map(ord, messages[-1]["content"]))

    def fits(self, prompt_ids: Sequence[int], decoding: Decoding) -> bool:
        return len(prompt_ids) + decoding.max_new_tokens <= self.context

    def sample(
        self, groups: Iterable[tuple[K, Sequence[SampleRequest]]], decoding: Decoding, progress: Progress
    ) -> Iterator[tuple[K, list[Completion]]]:
        for key, requests in groups:
            yield key, [self.reply("".join(map(chr, r.prompt_ids)), r.seed) for r in requests]

    def close(self) -> None:
        """Nothing is loaded."""


def says(text: str, finish_reason: str = "stop") -> Completion:
    """A completion with the given text; each token is a character."""
    return Completion(tuple(map(ord, text)), text, finish_reason)  # type: ignore[arg-type]
