"""Base models: hub id, local directory or the embedded nano, as weights and tokenizer on a device.

`resolve` turns what the user wrote into a `ResolvedModel` whose `identity` names the exact weights, before any work.
Only safetensors weights are loaded and no code that a model brings along is run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .config import ConfigError, Frozen, ModelConfig
from .prompts import Messages, encode

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

NANO = Path(__file__).parent / "nano" / "model"


class ResolvedModel(Frozen):
    """A model that is known to exist: where its files are, and a digest or commit that names their content."""

    source: str
    revision: str | None
    identity: str
    dtype: str

    @property
    def recipe(self) -> dict[str, str]:
        """What of the model decides rows, as it is hashed into recipes."""
        return {"identity": self.identity, "dtype": self.dtype}


@lru_cache(maxsize=8)
def resolve(config: ModelConfig) -> ResolvedModel:
    """Find the model and name its content.

    Raises:
        ConfigError: there is no such model here or on the hub, or it has no safetensors weights.
    """
    directory = NANO if config.source == "nano" else Path(config.source).expanduser()
    if directory.is_dir():
        identity = _directory_digest(directory)
        return ResolvedModel(source=str(directory.resolve()), revision=None, identity=identity, dtype=config.dtype)
    commit = _hub_commit(config)
    return ResolvedModel(
        source=config.source, revision=commit, identity=f"{config.source}@{commit}", dtype=config.dtype
    )


def _directory_digest(directory: Path) -> str:
    files = [
        p for p in sorted(directory.iterdir()) if p.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt")
    ]
    if not any(p.suffix == ".safetensors" for p in files):
        raise ConfigError(f"model directory {directory} has no .safetensors weights; convert it with save_pretrained")
    whole = hashlib.sha256()
    for path in files:
        if path.name != "build.json":
            with path.open("rb") as f:
                whole.update(path.name.encode() + hashlib.file_digest(f, "sha256").digest())
    return whole.hexdigest()[:16]


def _hub_commit(config: ModelConfig) -> str:
    """The commit a hub revision stands for; without a network, the one in the local cache."""
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return str(huggingface_hub.HfApi().model_info(config.source, revision=config.revision, timeout=10).sha)
    except Exception as online:  # the hub client raises a dozen unrelated types; the cache decides
        try:
            cached = huggingface_hub.snapshot_download(config.source, revision=config.revision, local_files_only=True)
            return Path(cached).name
        except (LocalEntryNotFoundError, ValueError):
            raise ConfigError(
                f"model {config.source!r} is not a directory, not in the local hub cache, and the hub did not give it "
                f"({type(online).__name__})\n  remedy: check the name and the network (HF_TOKEN for gated models), "
                f"run `hf download {config.source}` where there is one, or give a directory"
            ) from None


def check(model: ResolvedModel, device: str, wanted: Mapping[str, tuple[Messages, int]]) -> None:
    """Try what can be tried without the weights: configuration, tokenizer, chat template, context, head, device.

    `wanted` holds, by configuration field, a prompt and the token cap that has to fit behind it.

    Raises:
        ConfigError: the model cannot be used, or a token cap leaves no room for the prompt.
    """
    from transformers import AutoConfig

    pick_device(device)
    try:
        config = AutoConfig.from_pretrained(model.source, revision=model.revision)
        tokenizer = load_tokenizer(model)
        lengths = {field: len(encode(tokenizer, prompt)) for field, (prompt, _) in wanted.items()}
    except Exception as e:  # loaders and templates raise anything; all mean that the model cannot be used
        raise ConfigError(f"model {model.source} cannot be used: {str(e).strip() or type(e).__name__:.300}") from None
    _refuse_scaled_logits(config)
    for field, (_, cap) in wanted.items():
        context, prompt = config.max_position_embeddings, lengths[field]
        if prompt + cap > context:
            raise ConfigError(
                f"{field} is {cap}, but the model's context is {context} tokens and a prompt takes {prompt}: "
                f"lower it to {max(context - 2 * prompt, 1)} or less"
            )


def _refuse_scaled_logits(config: Any) -> None:
    """Refuse heads that do more than multiply, which the exact loss does not support."""
    for name in ("final_logit_softcapping", "logits_scaling", "logit_scale"):
        if getattr(config, name, None) not in (None, 1, 1.0):
            raise ConfigError(f"{config.model_type}: {name} of {getattr(config, name)} is not supported yet")


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


def load_tokenizer(model: ResolvedModel) -> PreTrainedTokenizerBase:
    """The model's own tokenizer, left-padding for generation."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model.source, revision=model.revision, padding_side="left")
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_model(model: ResolvedModel, device: str, adapter: Path | None = None) -> Any:
    """Frozen weights on `device`, in eval mode, with a trained LoRA adapter on top if one is given."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    if model.source == str(NANO.resolve()):  # done before the bar is drawn
        logging.disable_progress_bar()
    loaded: Any = AutoModelForCausalLM.from_pretrained(
        model.source, revision=model.revision, dtype=getattr(torch, model.dtype), use_safetensors=True
    )
    if adapter is not None:
        from peft import PeftModel

        loaded = PeftModel.from_pretrained(loaded, adapter)
    return loaded.to(pick_device(device)).eval().requires_grad_(False)


def backbone(model: Any) -> torch.nn.Module:
    """The stack below the output head: its last hidden state, after the final norm, is what the head reads."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    stack: torch.nn.Module = base.base_model
    return stack


def head_weight(model: Any) -> torch.Tensor:
    """The output head's weight (V, H), whose rows are the vocabulary as the model computes it.

    Raises:
        ConfigError: the head has a bias or scales its logits, which the exact loss does not support.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = base.get_output_embeddings()
    _refuse_scaled_logits(base.config)
    if getattr(head, "bias", None) is not None:
        raise ConfigError(f"{base.config.model_type}: heads with a bias are not supported yet")
    weight: torch.Tensor = head.weight
    return weight


def tensor_digest(tensor: torch.Tensor) -> str:
    """16 hexadecimal digits of the SHA-256 of a tensor's bytes."""
    import torch

    return hashlib.sha256(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
