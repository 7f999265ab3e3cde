"""The one way to read anything with transformers: code that a model brings along is never run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .bars import no_bars


def load(loader: Callable[..., Any], source: Any, **options: Any) -> Any:
    """Call a ``from_pretrained`` or ``from_config`` of transformers with `source`, without bars; return its result.

    Raises:
        ConfigError: the model needs code that it brings along.
    """
    try:
        with no_bars():
            return loader(source, trust_remote_code=False, **options)  # by default transformers asks on the terminal
    except ValueError as e:
        if "trust_remote_code" not in str(e):
            raise
        name = source if isinstance(source, str | Path) else source.name_or_path
        raise ConfigError(
            f"model.source: {name} brings code of its own, and models that do are not run\n"
            "  remedy: choose a model that transformers knows by itself"
        ) from None


def empty(config: Any) -> Any:
    """The model of a transformers configuration without its weights: every layer has its shape, and no memory."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return load(AutoModelForCausalLM.from_config, config)
