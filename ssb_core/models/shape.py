"""The sizes of a model's architecture, without its weights: they decide how much memory and disk a run needs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from . import gguf, hub
from .config import load_config
from .from_pretrained import empty
from .resolve import ResolvedModel


@dataclass(frozen=True, slots=True)
class Shape:
    """The parts of a model's architecture that decide how much memory and disk it needs.

    `lora_width` sums the inputs and outputs of all layers that get an adapter.
    """

    parameters: int
    hidden_size: int
    vocabulary: int
    lora_width: int


def is_here(model: ResolvedModel) -> bool:
    """Whether the model can be loaded as it is: it need not be downloaded or converted."""
    if model.gguf is not None:
        return gguf.is_complete(Path(model.source))
    return model.revision is None or bool(hub.cached_commit(model.source, model.revision))


def shape(model: ResolvedModel) -> Shape:
    """The sizes of a model that is here. All its linear layers but the head get an adapter."""
    import torch

    built = empty(load_config(model))
    head = built.get_output_embeddings()
    adapted = [m for m in built.modules() if isinstance(m, torch.nn.Linear) and m is not head]
    width = sum(m.in_features + m.out_features for m in adapted)
    vocabulary, hidden_size = head.weight.shape
    return Shape(sum(p.numel() for p in built.parameters()), hidden_size, vocabulary, width)
