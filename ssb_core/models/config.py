"""A model's own configuration: its transformers configuration, its context length and its generation settings."""

from __future__ import annotations

from typing import Any, get_args

from ..config import ModelConfig
from ..config.secrets import hub_token, redact
from ..errors import ConfigError
from . import hub
from .from_pretrained import load
from .resolve import ResolvedModel, local


def load_config(model: ResolvedModel) -> Any:
    """The model's transformers configuration."""
    from transformers import AutoConfig

    return load(AutoConfig.from_pretrained, local(model), revision=model.revision, token=hub_token())


def stored_dtype(model: ResolvedModel) -> str | None:
    """The number type that the model's config.json names for its weights; None for a GGUF file, or if it names none."""
    if model.gguf is not None:
        return None
    name = str(getattr(load_config(model), "dtype", None)).removeprefix("torch.")
    return name if name in get_args(ModelConfig.model_fields["dtype"].annotation) else None


def context_length(model: ResolvedModel) -> int:
    """The number of tokens that fit into the model's context, prompt and completion together.

    Raises:
        ConfigError: the model's configuration does not say.
    """
    return configured_context(load_config(model))


def configured_context(config: Any) -> int:
    """The same, from a transformers configuration."""
    for name in ("max_position_embeddings", "max_seq_len", "seq_length"):  # MPT and Bloom use names of their own
        if isinstance(length := getattr(config, name, None), int):
            return length
    raise ConfigError(
        f"model.source: the configuration of this {config.model_type} does not say how long its context is\n"
        "  remedy: add max_position_embeddings to its config.json"
    )


def generation_settings(model: ResolvedModel) -> Any:
    """The model's generation settings, or its configuration if it has no generation_config.json.

    Older checkpoints keep the settings in their configuration. If the file exists but cannot be read now, that is an
    error: without it the model would stop elsewhere than it does later.

    Raises:
        ConfigError: the file cannot be read.
    """
    from transformers import GenerationConfig

    source = local(model)
    try:
        return GenerationConfig.from_pretrained(source, revision=model.revision or "main", token=hub_token())
    except OSError as e:
        if hub.lacks(source, model.revision, "generation_config.json"):
            return load_config(model)
        raise ConfigError(
            f"model {model.source}: its generation_config.json cannot be read: {redact(str(e)):.300}\n"
            "  remedy: try again when the hub can be reached, or give a directory with all files of the model"
        ) from None
