"""Sampling with plain transformers: batches of like length, left-padded, one random stream per row (see `draw`).

A row's completion does not depend on which rows share its batch, so a batch that does not fit into memory is halved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from .. import models
from ..config import Decoding, Execution
from ..models import ResolvedModel
from ..progress import Progress
from ..records import Completion
from . import EngineError, K, Request
from .base import BaseSampler
from .draw import draw, drawn_on, uniforms


class TransformersSampler(BaseSampler):
    """`Sampler` over ``model.generate``."""

    def __init__(self, model: ResolvedModel, execution: Execution, adapter: Path | None) -> None:
        super().__init__(model)
        self.model: Any = models.load_model(model, execution.device, adapter)
        if adapter is not None and model.dtype == "float32":  # rounded to 16 bits, the sum would be another student
            self.model = self.model.merge_and_unload()
        self.batch_size = execution.batch_size
        # Penalties that a model suggests for chatting would change what is sampled behind the configuration's back.
        self.model.generation_config = GenerationConfig()

    @property
    def name(self) -> str:
        return f"transformers {transformers.__version__}"

    def sample(
        self, groups: Iterable[tuple[K, Sequence[Request]]], decoding: Decoding, progress: Progress
    ) -> Iterator[tuple[K, list[Completion]]]:
        for key, requests in groups:
            yield key, self._sample(requests, decoding, progress)

    def close(self) -> None:
        del self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _sample(self, requests: Sequence[Request], decoding: Decoding, progress: Progress) -> list[Completion]:
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_ids))
        found: dict[int, Completion] = {}
        while order:
            batch = order[: self.batch_size]
            try:
                found |= zip(batch, self._generate([requests[i] for i in batch], decoding), strict=True)
            except (RuntimeError, MemoryError) as e:
                self._halve(len(batch), e, progress)
                continue
            del order[: len(batch)]
            progress.advance(len(batch))
        return [found[i] for i in range(len(requests))]

    def _halve(self, tried: int, error: RuntimeError | MemoryError, progress: Progress) -> None:
        """Go on with half the batch after one of `tried` sequences ran out of memory."""
        if not _out_of_memory(error):
            raise error
        if tried == 1:
            raise EngineError(
                "out of memory sampling a single sequence; lower max_new_tokens, use a smaller dtype or another device"
            ) from error
        self.batch_size = tried // 2
        progress.note(
            f"out of memory with {tried} sequences at once, going on with {self.batch_size} (execution.batch_size)"
        )

    @torch.inference_mode()
    def _generate(self, requests: list[Request], decoding: Decoding) -> list[Completion]:
        inputs = self.tokenizer.pad({"input_ids": [list(r.prompt_ids) for r in requests]}, return_tensors="pt")
        width = inputs["input_ids"].shape[1]
        draw = [] if decoding.temperature == 0 else [SeededDraw([r.seed for r in requests], decoding, width)]
        out = self.model.generate(
            **inputs.to(self.model.device),
            generation_config=GenerationConfig(
                do_sample=False,  # the draw below leaves one candidate
                max_new_tokens=decoding.max_new_tokens,
                eos_token_id=list(self.stop_ids),
                pad_token_id=self.tokenizer.pad_token_id,
            ),
            logits_processor=LogitsProcessorList(draw),
        )
        return [self._completion(row) for row in out[:, width:].tolist()]

    def _completion(self, row: list[int]) -> Completion:
        end = next((i + 1 for i, token in enumerate(row) if token in self.stop_ids), None)
        ids = tuple(row[:end])
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Completion(ids, text, "length" if end is None else "stop")


class SeededDraw(LogitsProcessor):
    """Leaves, in every row, only the token its own seeded stream draws (temperature and top-k applied)."""

    def __init__(self, seeds: Sequence[int], decoding: Decoding, prompt_width: int) -> None:
        self.uniform_BS = torch.from_numpy(np.stack([uniforms(s, decoding.max_new_tokens) for s in seeds]))
        self.decoding = decoding
        self.prompt_width = prompt_width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> Any:
        u_B1 = self.uniform_BS[:, input_ids.shape[1] - self.prompt_width, None].to(drawn_on(scores.device))
        drawn_B1 = draw(scores, u_B1, self.decoding.temperature, self.decoding.top_k)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn_B1, 0.0)


def _out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed: CUDA has a type for it, the others only words."""
    said = str(error).lower()
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or any(
        words in said for words in ("out of memory", "can't allocate memory", "not enough memory")
    )
