"""ssb_core.engines."""

from .sampler import (
    Choice,
    EngineError,
    K,
    Request,
    Sampler,
    check,
    choose,
    choose_local,
    complete,
    draws,
    keeping,
    open_sampler,
    release,
    seed_for,
)

__all__ = (
    "Choice",
    "EngineError",
    "K",
    "Request",
    "Sampler",
    "check",
    "choose",
    "choose_local",
    "complete",
    "draws",
    "keeping",
    "open_sampler",
    "release",
    "seed_for",
)
