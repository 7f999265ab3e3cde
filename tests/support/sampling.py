"""Sampling a few requests at once."""

from __future__ import annotations

from collections.abc import Sequence

from ssb_core.config import Decoding
from ssb_core.engines import Sampler, SampleRequest
from ssb_core.progress import Progress
from ssb_core.records import Completion


def sampled(sampler: Sampler, requests: Sequence[SampleRequest], decoding: Decoding) -> list[Completion]:
    """One completion for each request."""
    ((_, completions),) = sampler.sample([("all", requests)], decoding, Progress())
    return completions
