"""Sampling engines behind one protocol: token ids in, token ids out, one seed for each completion."""

from .choose import Choice, check, choose, choose_local
from .loaded import LoadedEngine, open_sampler
from .sampler import K, Request, Sampler, complete, draws, seed_for

__all__ = (
    "Choice",
    "K",
    "LoadedEngine",
    "Request",
    "Sampler",
    "check",
    "choose",
    "choose_local",
    "complete",
    "draws",
    "open_sampler",
    "seed_for",
)
