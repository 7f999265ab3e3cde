"""The engine that is loaded: it is opened, kept for the next request of the same weights, and closed."""

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
    """At most one engine with its model loaded. A context manager that closes it at the end.

    With `keep` the engine stays loaded after the block of `open`, until another model is opened or `release` is called.
    Without, it is closed at the end of that block.
    """

    def __init__(self, keep: bool = True) -> None:
        self.keep = keep
        self._sampler: Sampler | None = None
        self._loaded: tuple[ResolvedModel, Execution, Path | None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def release(self) -> None:
        """Close the engine if one is loaded. Call this before you load a model yourself: memory may not hold both."""
        sampler, self._sampler, self._loaded = self._sampler, None, None
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
        """Load `model` into the engine for `execution`, with a LoRA adapter on top if one is given.

        An engine that already holds exactly this is used again. One whose block raises is closed. `note` is called with
        a line for the user before work that may take minutes.
        """
        key = model, execution, adapter
        if self._loaded != key:
            self.release()
            self._sampler, self._loaded = _load(model, execution, adapter, note), key
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
    """Load a model as `LoadedEngine.open` does, and close the engine at the end of the block."""
    return LoadedEngine(keep=False).open(model, execution, adapter, note)


def _load(model: ResolvedModel, execution: Execution, adapter: Path | None, note: Callable[[str], None]) -> Sampler:
    engine = choose(execution).engine
    if engine == "openai" and adapter is not None:
        engine = choose_local(execution).engine
        log.warning("the server has no adapter of the student, so %s samples it on this machine", engine)
    match engine:
        case "transformers":
            from .transformers_engine import TransformersSampler

            return TransformersSampler(model, execution, adapter)
        case "vllm":
            note("vLLM is starting, which takes from seconds to minutes")
            from .vllm_engine import VllmSampler

            return VllmSampler(model, execution, adapter)
        case "openai":
            from .server_engine import ServerSampler

            return ServerSampler(model, execution)
