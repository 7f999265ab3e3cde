"""Sampling with plain transformers: left-padded batches of similar length, one random stream per row (see `draw`).

A row's completion does not depend on the other rows of its batch, so a batch that does not fit into memory is halved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteriaList

from .. import models
from ..config import Decoding
from ..config.execution import Execution
from ..errors import EngineError, out_of_memory
from ..models import ResolvedModel
from ..progress import Progress
from ..records import Completion
from .base import BaseSampler
from .cpu_attention import group_heads
from .sampler import K, SampleRequest
from .seeded_draw import draw, drawn_on, uniforms

MIN_SHRINKING_ROWS = 8  # a smaller batch is decoded to its end: taking rows out would gain nothing


class TransformersSampler(BaseSampler):
    """`Sampler` over ``model.generate``."""

    def __init__(self, model: ResolvedModel, execution: Execution, adapter: Path | None) -> None:
        super().__init__(model)
        self.model: Any = models.load_model(model, execution.device, adapter)
        if adapter is not None and model.dtype == "float32":  # rounded to 16 bits, the sum would be another student
            self.model = self.model.merge_and_unload()
        group_heads(self.model)
        self.batch_size = execution.batch_size
        # A model's suggestions for chatting, such as penalties, would change what is sampled without being configured.
        self.model.generation_config = GenerationConfig()

    @property
    def name(self) -> str:
        return f"transformers {transformers.__version__}"

    def sample(
        self, groups: Iterable[tuple[K, Sequence[SampleRequest]]], decoding: Decoding, progress: Progress
    ) -> Iterator[tuple[K, list[Completion]]]:
        for key, requests in groups:
            yield key, self._sample(requests, decoding, progress)

    def close(self) -> None:
        del self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _sample(self, requests: Sequence[SampleRequest], decoding: Decoding, progress: Progress) -> list[Completion]:
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_ids))
        completions: dict[int, Completion] = {}
        while order:
            batch = order[: self.batch_size]
            try:
                completions |= zip(batch, self._generate([requests[i] for i in batch], decoding), strict=True)
            except (RuntimeError, MemoryError) as e:
                self._halve(len(batch), e, progress)
                continue
            del order[: len(batch)]
            progress.advance(len(batch))
        return [completions[i] for i in range(len(requests))]

    def _halve(self, tried: int, error: RuntimeError | MemoryError, progress: Progress) -> None:
        """Halve the batch size after a batch of `tried` sequences ran out of memory."""
        if not out_of_memory(error):
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
    def _generate(self, requests: list[SampleRequest], decoding: Decoding) -> list[Completion]:
        """Decode all requests. Rows that have ended leave the batch whenever they are a quarter of it."""
        inputs = self.tokenizer.pad({"input_ids": [list(r.prompt_ids) for r in requests]}, return_tensors="pt")
        ids_BS, mask_BS = (inputs[name].to(self.model.device) for name in ("input_ids", "attention_mask"))
        width, cache = ids_BS.shape[1], self._prefilled(ids_BS[:, :-1], mask_BS[:, :-1], requests)
        completions: dict[int, Completion] = {}
        rows = list(range(len(requests)))
        while rows:
            ids_BS, cache = self._decode(ids_BS, mask_BS, cache, [requests[i] for i in rows], decoding, width)
            ended_B = self._ended(ids_BS[:, width:]) | (ids_BS.shape[1] == width + decoding.max_new_tokens)
            for i in ended_B.nonzero()[:, 0].tolist():
                completions[rows[i]] = self._completion(ids_BS[i, width:].tolist())
            running_R = (~ended_B).nonzero()[:, 0]
            rows = [rows[i] for i in running_R.tolist()]
            cache.batch_select_indices(running_R)
            ids_BS = ids_BS[running_R]
            mask_BS = torch.nn.functional.pad(mask_BS[running_R], (0, ids_BS.shape[1] - mask_BS.shape[1]), value=1)
        return [completions[i] for i in range(len(requests))]

    def _prefilled(self, ids_BS: torch.Tensor, mask_BS: torch.Tensor, requests: Sequence[SampleRequest]) -> Any:
        """The key-value cache of all rows. A prompt that several rows share is computed once."""
        row_of: dict[tuple[int, ...], int] = {}
        for row, request in enumerate(requests):
            row_of.setdefault(request.prompt_ids, row)
        place_of = {prompt: place for place, prompt in enumerate(row_of)}
        first_P = torch.tensor(list(row_of.values()), device=ids_BS.device)
        place_B = torch.tensor([place_of[r.prompt_ids] for r in requests], device=ids_BS.device)
        settings = GenerationConfig(max_new_tokens=1, do_sample=False, return_dict_in_generate=True)
        out = self.model.generate(
            input_ids=ids_BS[first_P], attention_mask=mask_BS[first_P], generation_config=settings
        )
        cache = out.past_key_values
        cache.batch_select_indices(place_B)
        return cache

    def _decode(
        self,
        ids_BS: torch.Tensor,
        mask_BS: torch.Tensor,
        cache: Any,
        requests: Sequence[SampleRequest],
        decoding: Decoding,
        width: int,
    ) -> tuple[torch.Tensor, Any]:
        """Decode until a quarter of the rows has ended. Returns the longer ids (B, S) and their cache."""
        draw = [] if decoding.temperature == 0 else [SeededDraw([r.seed for r in requests], decoding, width)]
        out = self.model.generate(
            input_ids=ids_BS,
            attention_mask=mask_BS,
            past_key_values=cache,
            generation_config=GenerationConfig(
                do_sample=False,  # the seeded draw leaves one candidate
                max_length=width + decoding.max_new_tokens,
                eos_token_id=list(self.stop_ids),
                pad_token_id=self.tokenizer.pad_token_id,
                return_dict_in_generate=True,
            ),
            logits_processor=LogitsProcessorList(draw),
            stopping_criteria=StoppingCriteriaList([partial(self._enough_ended, width)]),
        )
        return out.sequences, out.past_key_values

    def _enough_ended(self, width: int, ids_BS: torch.Tensor, scores: Any, **kwargs: Any) -> torch.Tensor:
        """(B,) whether to stop all rows: one in four has ended, and the batch is large enough to shrink."""
        ended_B = self._ended(ids_BS[:, width:])
        return torch.full_like(ended_B, len(ended_B) >= MIN_SHRINKING_ROWS and 4 * int(ended_B.sum()) >= len(ended_B))

    def _ended(self, ids_BS: torch.Tensor) -> torch.Tensor:
        """(B,) whether a row contains an end-of-turn token."""
        return torch.isin(ids_BS, torch.tensor(self.stop_ids, device=ids_BS.device)).any(1)

    def _completion(self, row: list[int]) -> Completion:
        end = next((i + 1 for i, token in enumerate(row) if token in self.stop_ids), None)
        ids = tuple(row[:end])
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        return Completion(ids, text, "length" if end is None else "stop")


class SeededDraw(LogitsProcessor):
    """Leaves in every row only the token that its own seeded stream draws, with temperature and top-k applied."""

    def __init__(self, seeds: Sequence[int], decoding: Decoding, prompt_width: int) -> None:
        self.uniform_BS = torch.from_numpy(np.stack([uniforms(s, decoding.max_new_tokens) for s in seeds]))
        self.decoding = decoding
        self.prompt_width = prompt_width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> Any:
        u_B1 = self.uniform_BS[:, input_ids.shape[1] - self.prompt_width, None].to(drawn_on(scores.device))
        drawn_B1 = draw(scores, u_B1, self.decoding.temperature, self.decoding.top_k)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn_B1, 0.0)
