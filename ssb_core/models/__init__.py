"""Base models: a hub id, directory, GGUF file or the embedded nano becomes weights and a tokenizer on a device.

`resolve` turns the setting `model` into a `ResolvedModel`, whose `identity` names the exact weights; it changes nothing
on disk. `local` is the directory or hub id that libraries read; it converts a GGUF model on first use. Only safetensors
weights are loaded, and no code that a model brings along is run.
"""

from .adapter import ADAPTER_CONFIG, Adapter, check_adapter
from .bars import no_bars
from .check import check, check_weights, refuse_pickled
from .config import context_length, load_config, stored_dtype
from .device import pick_device
from .from_pretrained import empty
from .head import backbone, head_weight, soft_cap
from .resolve import NANO, ResolvedModel, local, resolve
from .shape import Shape, is_here, shape
from .tokenizers import end_of_turn, load_tokenizer, tokenizer_digest
from .weights import fsdp_modules, load_merged, load_model, tensor_digest

__all__ = (
    "ADAPTER_CONFIG",
    "NANO",
    "Adapter",
    "ResolvedModel",
    "Shape",
    "backbone",
    "check",
    "check_adapter",
    "check_weights",
    "context_length",
    "empty",
    "end_of_turn",
    "fsdp_modules",
    "head_weight",
    "is_here",
    "load_config",
    "load_merged",
    "load_model",
    "load_tokenizer",
    "local",
    "no_bars",
    "pick_device",
    "refuse_pickled",
    "resolve",
    "shape",
    "soft_cap",
    "stored_dtype",
    "tensor_digest",
    "tokenizer_digest",
)
