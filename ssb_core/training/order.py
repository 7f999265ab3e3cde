"""The order in which training reads its traces."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices

from ..config import DistillConfig
from .dataset import Traces


class Order(Sampler[int]):
    """The order in which traces are read. With `config` it differs in every epoch; without, it is their own order.

    It depends on the seed and the epoch alone, so a resumed epoch keeps its order. With several processes the last
    batch is padded with empty traces; accelerate would repeat real ones.
    """

    def __init__(self, traces: Traces, config: DistillConfig | None, passed: int) -> None:
        self.traces = traces
        self.config = config
        self.passed = passed  # traces that all processes together take in one pass
        self.fill = -len(traces) % passed if int(os.environ.get("WORLD_SIZE", "1")) > 1 else 0
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.traces) + self.fill

    def __iter__(self) -> Iterator[int]:
        return iter([*self._indices(), *[len(self.traces)] * self.fill])

    def _indices(self) -> Any:
        if self.config is None:
            return range(len(self.traces))
        generator = torch.Generator().manual_seed(self.config.seed + self.epoch)
        if self.config.group_by_length:
            return get_length_grouped_indices(self.traces.lengths, self.config.batch_size, generator=generator)
        return torch.randperm(len(self.traces), generator=generator).tolist()
