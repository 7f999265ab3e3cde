"""The model's weights on a device: frozen, complete, from safetensors alone, with a trained adapter if one is given."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..config.secrets import hub_token
from ..errors import ConfigError
from .check import refuse_other_weights, refuse_pickled
from .config import load_config
from .device import pick_device
from .from_pretrained import load
from .resolve import ResolvedModel, local

if TYPE_CHECKING:
    import torch


def load_model(model: ResolvedModel, device: str, adapter: Path | None = None, sharded: int = 1) -> Any:
    """Load frozen weights on `device`, in eval mode, with a trained LoRA adapter on top if one is given.

    If `sharded` is above 1, so many processes each read and hold a part of every weight (FSDP2).

    Raises:
        ConfigError: weights are missing or have other shapes than the configuration says.
        StoreError: the adapter's weights are not safetensors.
    """
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.distributed import DistributedConfig

    refuse_other_weights(model, load_config(model))
    loaded, report = load(
        AutoModelForCausalLM.from_pretrained,
        local(model),
        revision=model.revision,
        token=hub_token(),
        dtype=getattr(torch, model.dtype),
        use_safetensors=True,
        output_loading_info=True,
        ignore_mismatched_sizes=True,  # refuse_incomplete names them
        distributed_config=DistributedConfig(fsdp_size=sharded) if sharded > 1 else None,
    )
    if sharded > 1:  # pretend it is whole: else transformers refuses checkpoints, and peft gathers in one process only
        loaded._is_distributed_loading_by_transformers, loaded._tp_size = False, None
    refuse_incomplete(model, report)
    if adapter is not None:
        from peft import PeftModel

        refuse_pickled(adapter)
        loaded = PeftModel.from_pretrained(loaded, adapter)
    placed = loaded if sharded > 1 else loaded.to(pick_device(device))
    return placed.eval().requires_grad_(False)


def load_merged(model: ResolvedModel, adapter: Path) -> Any:
    """Load the weights with the adapter added, in float32 on the CPU, whatever the model's dtype is."""
    exact = model.model_copy(update={"dtype": "float32"})
    return load_model(exact, "cpu", adapter).merge_and_unload()


def refuse_incomplete(model: ResolvedModel, report: dict[str, Any]) -> None:
    """Refuse weights that transformers would replace by random numbers; `report` is its loading info.

    Raises:
        ConfigError: weights are missing or have other shapes than the configuration says.
    """
    if missing := sorted(report["missing_keys"]):
        wrong = f"lacks {len(missing)} of its weights, e.g. {missing[0]}"
    elif mismatched := sorted(report["mismatched_keys"]):
        name, stored, configured = mismatched[0]
        wrong = (
            f"has {len(mismatched)} weights of other shapes than its configuration says, e.g. {name}: {list(stored)} "
            f"instead of {list(configured)}"
        )
    else:
        return
    raise ConfigError(
        f"model {model.source} {wrong}\n"
        "  remedy: download it again, or convert it with save_pretrained of its own model class"
    )


def fsdp_modules(model: Any) -> list[Any]:
    """The modules whose weights are spread over several processes; empty for a whole model."""
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def tensor_digest(tensor: torch.Tensor) -> str:
    """16 hexadecimal digits of the SHA-256 of a tensor's bytes."""
    import torch

    return hashlib.sha256(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()[:16]
