"""Base models: hub id, directory, GGUF file or the embedded nano, as weights and tokenizer on a device.

`resolve` turns what the user wrote into a `ResolvedModel` whose `identity` names the exact weights; it changes nothing
on disk. `local` is the directory or hub id to hand to a library: the first need of a GGUF model converts it. Only
safetensors weights are loaded and no code that a model brings along is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.secrets import hub_token, redact
from ..errors import ConfigError, StoreError
from ..progress import Progress
from ..prompts import Messages, encode, stop_tokens
from ..store import digest
from . import gguf, hub
from .from_pretrained import empty, load
from .head import backbone, head_weight, refuse_unsupported, soft_cap
from .resolve import NANO, ResolvedModel, indexed, resolve, weight_files

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

ADAPTER = "adapter_model.safetensors"

__all__ = [
    "NANO",
    "ResolvedModel",
    "backbone",
    "check",
    "context_length",
    "empty",
    "end_of_turn",
    "head_weight",
    "load_config",
    "load_merged",
    "load_model",
    "load_tokenizer",
    "local",
    "parts",
    "pick_device",
    "refuse_pickled",
    "resolve",
    "soft_cap",
    "tensor_digest",
    "tokenizer_digest",
]


def local(model: ResolvedModel, progress: Progress | None = None) -> str:
    """The directory or hub id (at `model.revision`) to hand to a library; a GGUF file is converted if it is not yet.

    Raises:
        ConfigError: the GGUF file is gone, was changed since it was resolved, or cannot be converted.
    """
    if model.gguf is not None:
        gguf.convert(Path(model.gguf), Path(model.source), progress)
    return model.source


def check(model: ResolvedModel, device: str, wanted: Mapping[str, tuple[Messages, int]]) -> None:
    """Try what can be tried without the weights: configuration, head, tokenizer, chat template, turns, context, device.

    `wanted` holds, by configuration field, a prompt and the token cap that has to fit behind it.

    Raises:
        ConfigError: the model cannot be used, or a token cap leaves no room for the prompt.
    """
    pick_device(device)
    local(model)
    try:
        config = load_config(model)
        refuse_unsupported(config)  # before it is built: what is refused here may be no causal language model
        _refuse_other_weights(model, config)
        head_weight(empty(config))
        tokenizer = load_tokenizer(model)
        shown = {field: encode(tokenizer, prompt) for field, (prompt, _) in wanted.items()}
        end_of_turn(model, tokenizer)
    except ConfigError:
        raise
    except Exception as e:  # loaders and templates raise anything; all mean that the model cannot be used
        what = f"model {model.source}" + (" with model.chat_template" if model.chat_template else "")
        why = redact(str(e)).strip() or type(e).__name__
        raise ConfigError(f"{what} cannot be used: {why:.300}") from None
    room = _context(config)
    for field, (_, cap) in wanted.items():
        if max(shown[field]) >= config.vocab_size:
            raise ConfigError(
                f"model {model.source}: its tokenizer writes token {max(shown[field])}, its vocabulary ends before "
                f"{config.vocab_size}\n  remedy: put the model's own tokenizer beside its weights"
            )
        prompt = len(shown[field])
        if prompt + cap > room:
            raise ConfigError(
                f"{field} is {cap}, but the model's context is {room} tokens and a prompt takes {prompt}: "
                f"lower it to {max(room - 2 * prompt, 1)} or less"
            )


def check_weights(model: ResolvedModel) -> None:
    """Look at the weights that are here without loading them.

    Raises:
        ConfigError: they are cut, or something else than their name says.
    """
    from safetensors import SafetensorError, safe_open

    place = Path(local(model))
    for file in weight_files(place) if place.is_dir() else ():
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError as e:
            raise ConfigError(
                f"model.source: {file} is no whole safetensors file ({e})\n  remedy: download it again"
            ) from None


def _refuse_other_weights(model: ResolvedModel, config: Any) -> None:
    """Refuse what would have transformers read other files than safetensors, which it does where these are named.

    Raises:
        ConfigError: the configuration names a file of weights, or the index of a hub model one of another kind.
    """
    from transformers.utils import cached_file

    if named := getattr(config, "transformers_weights", None):
        raise ConfigError(
            f"model.source: the config.json of {model.source} names its weights (transformers_weights is "
            f"{named!r:.100}), which is not supported\n  remedy: give a directory whose config.json does not"
        )
    place = local(model)
    if not Path(place).is_dir():
        how = {"revision": model.revision, "token": hub_token(), "_raise_exceptions_for_missing_entries": False}
        if index := cached_file(place, hub.INDEX, **how):
            indexed(Path(index))


def context_length(model: ResolvedModel) -> int:
    """Tokens that fit into the model's context, prompt and completion together.

    Raises:
        ConfigError: its configuration does not say.
    """
    return _context(load_config(model))


def _context(config: Any) -> int:
    for name in ("max_position_embeddings", "max_seq_len", "seq_length"):  # MPT and Bloom have names of their own
        if isinstance(found := getattr(config, name, None), int):
            return found
    raise ConfigError(
        f"model.source: the configuration of this {config.model_type} does not say how long its context is\n"
        "  remedy: add max_position_embeddings to its config.json"
    )


def end_of_turn(model: ResolvedModel, tokenizer: PreTrainedTokenizerBase | None = None) -> tuple[int, ...]:
    """Every token that ends the model's turn, sorted; needs no weights.

    They come from its generation settings (or configuration), its tokenizer, and what its chat template closes an
    assistant's turn with, since checkpoints of every family leave one out in one of these places.

    Raises:
        ConfigError: none is found, so nothing would ever stop; or the generation settings cannot be had.
    """
    found = stop_tokens.stop_ids([_settings(model).eos_token_id], tokenizer or load_tokenizer(model))
    if not found:
        raise ConfigError(
            f"model {model.source} names no token that ends a turn\n"
            "  remedy: set eos_token_id in its generation_config.json, or eos_token in its tokenizer_config.json"
        )
    return found


def _settings(model: ResolvedModel) -> Any:
    """The model's generation settings; its configuration, which older checkpoints have them in, if it has no such file.

    A file that is there but cannot be had now is not taken for none: the model would stop elsewhere than it does later.
    """
    from transformers import GenerationConfig

    place = local(model)
    try:
        return GenerationConfig.from_pretrained(place, revision=model.revision or "main", token=hub_token())
    except OSError as e:
        if hub.lacks(place, model.revision, "generation_config.json"):
            return load_config(model)
        raise ConfigError(
            f"model {model.source}: its generation_config.json cannot be read: {redact(str(e)):.300}\n"
            "  remedy: try again when the hub can be reached, or give a directory with all files of the model"
        ) from None


def pick_device(wanted: str) -> str:
    """The device wanted; ``auto`` means CUDA, else Apple's GPU, else the CPU.

    Raises:
        ConfigError: it is not here.
    """
    import torch

    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return next(name for name, available in there.items() if available)
    if not there[wanted]:
        raise ConfigError(f"execution.device is {wanted}, but there is none here; use auto or cpu")
    return wanted


def load_config(model: ResolvedModel) -> Any:
    """The model's transformers configuration."""
    from transformers import AutoConfig

    return load(AutoConfig.from_pretrained, local(model), revision=model.revision, token=hub_token())


def load_tokenizer(model: ResolvedModel) -> PreTrainedTokenizerBase:
    """The model's own tokenizer with the chat template that is used, left-padding for generation.

    A missing pad token is filled with one that ends a turn. Nothing reads padding: masks come from lengths, and a
    completion ends with its first end-of-turn token, so what stands behind it is cut off though it be the same token.

    Raises:
        ConfigError: it has no pad token and none that could stand in for it.
    """
    from transformers import AutoTokenizer

    tokenizer: PreTrainedTokenizerBase = load(
        AutoTokenizer.from_pretrained,
        local(model),
        revision=model.revision,
        token=hub_token(),
        padding_side="left",
    )
    if model.chat_template is not None:
        tokenizer.chat_template = model.chat_template
    if tokenizer.pad_token_id is None:
        ending = tokenizer.eos_token_id
        tokenizer.pad_token_id = end_of_turn(model, tokenizer)[0] if ending is None else ending
    return tokenizer


def load_model(model: ResolvedModel, device: str, adapter: Path | None = None, sharded: int = 1) -> Any:
    """Frozen weights on `device`, in eval mode, with a trained LoRA adapter on top if one is given.

    Each of `sharded` processes, if there are several, reads and holds a part of every weight (FSDP2).

    Raises:
        ConfigError: weights are missing or have other shapes than the configuration says.
        StoreError: the adapter's weights are no safetensors.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.distributed import DistributedConfig
    from transformers.utils import logging

    if model.source == str(NANO.resolve()):  # done before the bar is drawn
        logging.disable_progress_bar()
    _refuse_other_weights(model, load_config(model))
    loaded, found = load(
        AutoModelForCausalLM.from_pretrained,
        local(model),
        revision=model.revision,
        token=hub_token(),
        dtype=getattr(torch, model.dtype),
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refused below, by name
        distributed_config=DistributedConfig(fsdp_size=sharded) if sharded > 1 else None,
    )
    if sharded > 1:  # trained as if whole: else transformers refuses checkpoints, peft gathers it in one process only
        loaded._is_distributed_loading_by_transformers, loaded._tp_size = False, None
    _refuse_incomplete(model, found)
    if adapter is not None:
        from peft import PeftModel

        refuse_pickled(adapter)
        loaded = PeftModel.from_pretrained(loaded, adapter)
    placed = loaded if sharded > 1 else loaded.to(pick_device(device))
    return placed.eval().requires_grad_(False)


def refuse_pickled(adapter: Path) -> None:
    """Refuse a student without safetensors, in whose place peft and vLLM would read a pickle.

    Raises:
        StoreError: it has none.
    """
    if not (adapter / ADAPTER).is_file():
        raise StoreError(f"the student in {adapter} has no {ADAPTER}: only safetensors are read")


def parts(model: Any) -> list[Any]:
    """The modules whose weights are spread over processes; none in a model that is whole."""
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _refuse_incomplete(model: ResolvedModel, found: dict[str, Any]) -> None:
    """Refuse weights that transformers would go on with random numbers for."""
    if missing := sorted(found["missing_keys"]):
        wrong = f"lacks {len(missing)} of its weights, e.g. {missing[0]}"
    elif other := sorted(found["mismatched_keys"]):
        name, has, wanted = other[0]
        wrong = (
            f"has {len(other)} weights of other shapes than its configuration says, e.g. {name}: {list(has)} "
            f"instead of {list(wanted)}"
        )
    else:
        return
    raise ConfigError(
        f"model {model.source} {wrong}\n"
        "  remedy: download it again, or convert it with save_pretrained of its own model class"
    )


def tensor_digest(tensor: torch.Tensor) -> str:
    """16 hexadecimal digits of the SHA-256 of a tensor's bytes."""
    import torch

    return hashlib.sha256(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]


def tokenizer_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """16 hexadecimal digits of what decides the ids of a conversation: vocabulary, rules and chat template."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = json.loads(backend.to_str()) if backend else tokenizer.get_vocab()
    for state in ("padding", "truncation") if backend else ():  # of the last call
        rules.pop(state, None)
    return digest([rules, tokenizer.chat_template])


def load_merged(model: ResolvedModel, adapter: Path) -> Any:
    """The weights with the adapter added, in float32 on the CPU, whatever the model's dtype."""
    exact = model.model_copy(update={"dtype": "float32"})
    return load_model(exact, "cpu", adapter).merge_and_unload()
