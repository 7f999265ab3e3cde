"""Completions that can be read while they are written: one model, with and without its adapter, token by token.

Only transformers does this. Weights are loaded once: without the adapter, the model is the base. Both can be read by
turns, because each completion is a generator with a cache of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from transformers import TextStreamer

from .. import models, prompts
from ..config import Decoding
from ..config.execution import Execution
from ..models import ResolvedModel
from ..records import TOO_LONG, Completion
from .base import BaseSampler
from .seeded_draw import draw, drawn_on, uniforms


class StreamSampler(BaseSampler):
    """A base and its student in one model."""

    def __init__(self, model: ResolvedModel, execution: Execution, adapter: Path) -> None:
        super().__init__(model)
        self.model: Any = models.load_model(model, execution.device, adapter)

    @property
    def device(self) -> str:
        """The device of the model."""
        return str(self.model.device)

    @torch.inference_mode()
    def stream(
        self, messages: prompts.Messages, decoding: Decoding, seed: int, adapted: bool
    ) -> Iterator[str | Completion]:
        """Yield the text of an answer in pieces, one for each token, and the whole completion at the end.

        A piece may be empty: a word comes when it is complete. `adapted` says whether the student answers. An answer
        ends at `max_new_tokens`, or where the context is full.
        """
        prompt_ids, pieces = self.encode(messages), _Pieces(self.tokenizer)
        room = min(decoding.max_new_tokens, self.context - len(prompt_ids))
        if room <= 0:
            yield TOO_LONG
            return
        ids_1S, cache, written = torch.tensor([prompt_ids], device=self.model.device), None, list[int]()
        for uniform in uniforms(seed, room):
            with contextlib.nullcontext() if adapted else self.model.disable_adapter():
                out = self.model(input_ids=ids_1S, past_key_values=cache, use_cache=True)
            ids_1S, cache = _next(out.logits[:, -1], float(uniform), decoding), out.past_key_values
            written.append(int(ids_1S))
            if written[-1] in self.stop_ids:
                break
            pieces.put(ids_1S[0].cpu())
            yield pieces.take()
        pieces.end()
        yield pieces.take()
        text = self.tokenizer.decode(written, skip_special_tokens=True)
        yield Completion(tuple(written), text, "stop" if written[-1] in self.stop_ids else "length")


class _Pieces(TextStreamer):
    """Turns token ids into words as they become complete."""

    def __init__(self, tokenizer: Any) -> None:
        super().__init__(tokenizer, skip_special_tokens=True)
        self.ready = ""

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        self.ready += text

    def take(self) -> str:
        text, self.ready = self.ready, ""
        return text


def _next(logits_1V: torch.Tensor, uniform: float, decoding: Decoding) -> torch.Tensor:
    """The next token (1, 1), drawn as the other engines draw it."""
    if decoding.temperature == 0:
        return logits_1V.argmax(-1, keepdim=True)
    uniform_11 = torch.tensor([[uniform]], dtype=torch.float64, device=drawn_on(logits_1V.device))
    return draw(logits_1V, uniform_11, decoding.temperature, decoding.top_k)
