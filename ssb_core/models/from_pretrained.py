"""What everything that reads models with transformers goes through: code that a model brings along is never run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import ConfigError


def load(loader: Callable[..., Any], source: Any, **options: Any) -> Any:
    """What a ``from_pretrained`` or ``from_config`` of transformers makes of `source`.

    Raises:
        ConfigError: it would take code that the model brings along.
    """
    try:
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
    """The model of `config` without its weights: every layer with its shape, nothing in memory."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        return load(AutoModelForCausalLM.from_config, config)
