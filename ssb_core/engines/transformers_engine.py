"""Sampling with plain transformers: batches of like length, left-padded, one random stream per row.

Every row draws one uniform number per step from its own counter-based stream and takes the token at that point of its
cumulative distribution. A row's completion therefore does not depend on which rows share its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from .. import models, prompts
from ..config import Decoding, Execution
from ..progress import Progress
from ..records import Completion
from . import Request

if TYPE_CHECKING:
    from ..models import ResolvedModel


class TransformersSampler:
    """`Sampler` over ``model.generate``."""

    def __init__(self, model: ResolvedModel, execution: Execution, adapter: Path | None) -> None:
        self.tokenizer: Any = models.load_tokenizer(model)
        self.model: Any = models.load_model(model, execution.device, adapter)
        if adapter is not None:
            self.model = self.model.merge_and_unload()
        self.batch_size = execution.batch_size
        self.stop_ids = _stop_ids(self.model, self.tokenizer)
        # Penalties that a model suggests for chatting would change what is sampled behind the configuration's back.
        self.model.generation_config = GenerationConfig()

    def encode(self, messages: prompts.Messages) -> tuple[int, ...]:
        return prompts.encode(self.tokenizer, messages)

    def fits(self, prompt_ids: Sequence[int], decoding: Decoding) -> bool:
        context: int = self.model.config.max_position_embeddings
        return len(prompt_ids) + decoding.max_new_tokens <= context

    def sample(self, requests: Sequence[Request], decoding: Decoding, progress: Progress) -> list[Completion]:
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].prompt_ids))
        found: dict[int, Completion] = {}
        for at in range(0, len(order), self.batch_size):
            batch = order[at : at + self.batch_size]
            found |= zip(batch, self._generate([requests[i] for i in batch], decoding), strict=True)
            progress.advance(len(batch))
        return [found[i] for i in range(len(requests))]

    def close(self) -> None:
        del self.model
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

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
                eos_token_id=self.stop_ids,
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
        streams = [np.random.Generator(np.random.Philox(key=s)).random(decoding.max_new_tokens) for s in seeds]
        self.uniform_BS = torch.from_numpy(np.stack(streams))
        self.decoding = decoding
        self.prompt_width = prompt_width

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> Any:
        u_B1 = self.uniform_BS[:, input_ids.shape[1] - self.prompt_width, None].to(scores.device)
        k = min(self.decoding.top_k or scores.shape[1], scores.shape[1])
        logits_BK, ids_BK = scores.float().topk(k)
        cumulative_BK = (logits_BK / self.decoding.temperature).softmax(-1).double().cumsum(-1)
        rank_B1 = (cumulative_BK < u_B1 * cumulative_BK[:, -1:]).sum(-1, keepdim=True).clamp(max=k - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, ids_BK.gather(1, rank_B1), 0.0)


def _stop_ids(model: Any, tokenizer: Any) -> list[int]:
    """End-of-turn tokens, by the model's generation settings and by its tokenizer."""
    declared = model.generation_config.eos_token_id
    ids = set(declared if isinstance(declared, list) else [declared])
    return sorted(i for i in ids | {tokenizer.eos_token_id} if i is not None)
