"""Sampling engines behind one protocol: token ids in, token ids out, one seed for each completion."""

from .choose import Choice, check, choose, choose_local
from .loaded import LoadedEngine, open_sampler
from .sampler import K, Sampler, SampleRequest, complete, requests_for, seed_for

__all__ = (
    "Choice",
    "K",
    "LoadedEngine",
    "SampleRequest",
    "Sampler",
    "check",
    "choose",
    "choose_local",
    "complete",
    "open_sampler",
    "requests_for",
    "seed_for",
)
