"""The loop that rollouts, teach and evaluate share: sample completions for every item of a shard, and grade them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..config import Decoding
from ..engines import K, Sampler, SampleRequest, complete
from ..progress import Progress
from ..records import Completion, Verdict
from ..verify import Verifier

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Sampled(Generic[Item]):
    """Completion number `index` of an item, and the verifier's verdict if completions are graded."""

    item: Item
    index: int
    request: SampleRequest
    completion: Completion
    verdict: Verdict | None


def sample_and_grade(
    sampler: Sampler,
    shards: Iterable[tuple[K, Sequence[Item]]],
    ask: Callable[[Item], Sequence[SampleRequest]],
    decoding: Decoding,
    progress: Progress,
    verifier: Verifier | None = None,
    gold: Callable[[Item], str] = str,
) -> Iterator[tuple[K, list[Sampled[Item]]]]:
    """Ask for every item's requests, and yield every shard's key with the completions of its items.

    Items keep their order; shards come as they get done.

    With a `verifier` each completion is graded against the ``gold(item)`` answer.
    """
    groups = ((key, [(i, n, r) for i in items for n, r in enumerate(ask(i))]) for key, items in shards)
    requests = (((key, group), [r for *_, r in group]) for key, group in groups)
    for (key, group), completed in complete(sampler, requests, decoding, progress):
        verdicts: Sequence[Verdict | None] = [None] * len(group)
        if verifier:
            answers = ((c.text, gold(i)) for (i, *_), (_, c) in zip(group, completed, strict=True))
            verdicts = list(verifier.grade(answers))
        yield (
            key,
            [
                Sampled(item, index, request, completion, verdict)
                for (item, index, request), (_, completion), verdict in zip(group, completed, verdicts, strict=True)
            ],
        )
