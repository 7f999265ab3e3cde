"""Checks of a model before any work: those that need no weights, and those of the weight files."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..config.secrets import hub_token, redact
from ..errors import ConfigError, StoreError
from ..prompts import Messages, encode
from . import hub
from .config import configured_context, load_config
from .device import pick_device
from .from_pretrained import empty
from .head import head_weight, refuse_unsupported
from .resolve import ResolvedModel, files_in_index, local, weight_files
from .tokenizers import end_of_turn, load_tokenizer

ADAPTER = "adapter_model.safetensors"
_one_thread = threading.Lock()  # transformers loads its parts lazily, which fails if two threads are the first


def check(model: ResolvedModel, device: str, prompts: Mapping[str, tuple[Messages, int]]) -> None:
    """Try everything that needs no weights: configuration, head, tokenizer, chat template, end of turn, context and
    device.

    `prompts` has, for the configuration field of each token cap, a prompt and that cap; both must fit into the context.

    Raises:
        ConfigError: the model cannot be used, or a token cap leaves no room for the prompt.
    """
    pick_device(device)
    local(model)
    try:
        with _one_thread:
            config = load_config(model)
            refuse_unsupported(config)  # before the model is built: it may not be a causal language model
            refuse_other_weights(model, config)
            head_weight(empty(config))
            tokenizer = load_tokenizer(model)
            prompt_ids = {field: encode(tokenizer, prompt) for field, (prompt, _) in prompts.items()}
            end_of_turn(model, tokenizer)
    except ConfigError:
        raise
    except Exception as e:  # loaders and templates raise anything; it always means that the model cannot be used
        name = f"model {model.source}" + (" with model.chat_template" if model.chat_template else "")
        why = redact(str(e)).strip() or type(e).__name__
        raise ConfigError(f"{name} cannot be used: {why:.300}") from None
    context = configured_context(config)
    for field, (_, cap) in prompts.items():
        _refuse_unknown_tokens(model, max(prompt_ids[field]), config.vocab_size)
        length = len(prompt_ids[field])
        if length + cap > context:
            raise ConfigError(
                f"{field} is {cap}, but the model's context is {context} tokens and a prompt takes {length}: "
                f"lower it to {max(context - 2 * length, 1)} or less"
            )


def _refuse_unknown_tokens(model: ResolvedModel, largest: int, vocabulary: int) -> None:
    if largest >= vocabulary:
        raise ConfigError(
            f"model {model.source}: its tokenizer writes token {largest}, but its vocabulary ends before "
            f"{vocabulary}\n  remedy: put the model's own tokenizer beside its weights"
        )


def check_weights(model: ResolvedModel) -> None:
    """Check that a directory's weight files are whole safetensors files, without loading them.

    Raises:
        ConfigError: a file is cut, or its content is not what its name says.
    """
    from safetensors import SafetensorError, safe_open

    directory = Path(local(model))
    for file in weight_files(directory) if directory.is_dir() else ():
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as e:
            raise ConfigError(
                f"model.source: {file} is not a complete safetensors file ({e})\n  remedy: download it again"
            ) from None


def refuse_other_weights(model: ResolvedModel, config: Any) -> None:
    """Refuse a model that makes transformers read weights that are not safetensors, by naming such files.

    Raises:
        ConfigError: the configuration names a weight file, or the index of a hub model names one of another kind.
    """
    from transformers.utils import cached_file

    if named := getattr(config, "transformers_weights", None):
        raise ConfigError(
            f"model.source: the config.json of {model.source} names its weights (transformers_weights is "
            f"{named!r:.100}), which is not supported\n  remedy: give a directory whose config.json does not"
        )
    source = local(model)
    if not Path(source).is_dir():
        options = {"revision": model.revision, "token": hub_token(), "_raise_exceptions_for_missing_entries": False}
        if index := cached_file(source, hub.INDEX, **options):
            files_in_index(Path(index))


def refuse_pickled(adapter: Path) -> None:
    """Refuse a student without safetensors, because peft and vLLM would read a pickle instead.

    Raises:
        StoreError: the adapter's folder has no safetensors.
    """
    if not (adapter / ADAPTER).is_file():
        raise StoreError(f"the student in {adapter} has no {ADAPTER}: only safetensors are read")
