"""Engines with a model loaded: opened, kept for the next request of the same weights, and closed."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from ..config.execution import Execution
from ..models import ResolvedModel
from .choose import choose, choose_local
from .sampler import Sampler

log = logging.getLogger(__name__)


class LoadedEngine:
    """The engine that is loaded now, if any. A context manager that frees it at the end.

    With `keep` an engine stays loaded after its block until another one is asked for, or `release` is called; else
    each is closed at the end of its block.
    """

    def __init__(self, keep: bool = True) -> None:
        self.keep = keep
        self._request: tuple[ResolvedModel, Execution, Path | None] | None = None
        self._sampler: Sampler | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Close the engine. Call it before you load a model yourself: both may not fit into memory."""
        sampler, self._sampler, self._request = self._sampler, None, None
        if sampler is not None:
            sampler.close()

    @contextlib.contextmanager
    def open(
        self,
        model: ResolvedModel,
        execution: Execution,
        adapter: Path | None = None,
        note: Callable[[str], None] = log.info,
    ) -> Iterator[Sampler]:
        """The model in an engine, with a LoRA adapter on top if one is given. An engine that fails is closed.

        `note` is called before work that may take minutes.
        """
        request = model, execution, adapter
        if self._request != request:
            self.release()
            self._sampler, self._request = _load(model, execution, adapter, note), request
        assert self._sampler
        try:
            yield self._sampler
        except BaseException:
            self.release()
            raise
        if not self.keep:
            self.release()


def open_sampler(
    model: ResolvedModel, execution: Execution, adapter: Path | None = None, note: Callable[[str], None] = log.info
) -> contextlib.AbstractContextManager[Sampler]:
    """The model in an engine, as `LoadedEngine.open` gives it; the engine is closed at the end of the block."""
    return LoadedEngine(keep=False).open(model, execution, adapter, note)


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
