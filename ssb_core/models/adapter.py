"""LoRA adapters from outside of a store, such as one that `ssb export` wrote or that peft saved elsewhere.

An adapter is two files: adapter_config.json and adapter_model.safetensors. Its identity is a digest of their content,
without the name of its base: the same weights for a copy of the same base are the same adapter. A pickle is never read.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..config.frozen import Frozen
from ..errors import ConfigError
from ..store import digest
from .check import ADAPTER
from .config import load_config
from .from_pretrained import empty
from .resolve import ResolvedModel

ADAPTER_CONFIG = "adapter_config.json"
ABOUT_BASE = ("base_model_name_or_path", "revision")
UNSUPPORTED = ("alora_invocation_tokens", "arrow_config", "megatron_config")
"""Settings of adapters that depend on the prompt, load other adapters, or import another library."""


class Adapter(Frozen):
    """A LoRA adapter in a directory. `identity` names its content, and `weights` is the SHA-256 of its weights' file.

    `base` and `revision` name the model that it was trained on, if its configuration does.
    """

    directory: str
    identity: str
    weights: str
    base: str | None = None
    revision: str | None = None

    @classmethod
    def find(cls, directory: Path) -> Adapter:
        """Read the adapter's files, and name their content.

        Raises:
            ConfigError: a file is missing or not whole, or it is not a LoRA adapter in safetensors.
        """
        if not directory.is_dir():
            raise ConfigError(
                f"adapter {directory} is not a directory\n  remedy: give one with {ADAPTER_CONFIG} and {ADAPTER}"
            )
        config, weights = _read_config(directory), _weights_digest(directory)
        base, revision = (config.get(name) for name in ABOUT_BASE)
        return cls(
            directory=str(directory.resolve()),
            identity=content_digest(weights, config),
            weights=weights,
            base=base if isinstance(base, str) and base else None,
            revision=revision if isinstance(revision, str) and revision else None,
        )

    def load(self) -> Path:
        """The directory, for an engine to read.

        Raises:
            ConfigError: its files have changed since `find`.
        """
        if Adapter.find(Path(self.directory)).identity != self.identity:
            raise ConfigError(f"adapter {self.directory} has changed since the evaluation began\n  remedy: start again")
        return Path(self.directory)


def content_digest(weights: str, config: dict[str, Any]) -> str:
    """The identity of an adapter, from the SHA-256 of its weights' file and its configuration."""
    return digest([weights, {name: value for name, value in config.items() if name not in ABOUT_BASE}])


def check_adapter(adapter: Adapter, model: ResolvedModel) -> None:
    """Check that an adapter was made for `model`: by the name of its base where that can tell, and by its shapes.

    Raises:
        ConfigError: it names another base, or its weights do not fit the model's layers.
    """
    _refuse_other_base(adapter, model)
    stored = _stored_shapes(Path(adapter.directory))
    expected = _expected_shapes(adapter, model)
    for name in sorted(expected.keys() | {n for n in stored if "lora_" in n}):
        ours, theirs = expected.get(name), stored.get(name)
        if ours is None or theirs is None:
            raise _misfit(adapter, model, f"it {'has' if theirs else 'lacks'} weights for {name}")
        if ours != theirs:
            raise _misfit(adapter, model, f"{name} has the shape {list(theirs)}, and the model needs {list(ours)}")


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / ADAPTER_CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(
            f"adapter {directory} has no {ADAPTER_CONFIG}\n  remedy: give a directory that save_pretrained of peft "
            "wrote, or `ssb export --adapter`"
        ) from None
    except (OSError, ValueError, RecursionError) as e:
        raise ConfigError(f"{path} cannot be read ({e!s:.100})\n  remedy: write the adapter again") from None
    kind = config.get("peft_type") if isinstance(config, dict) else None
    if kind != "LORA":
        raise ConfigError(
            f"{path}: peft_type is {kind!r:.40}, and only LORA can be evaluated\n"
            "  remedy: merge the adapter into its base, and give the merged model with --model"
        )
    if type(config.get("r")) is not int:
        raise ConfigError(f"{path}: r, the rank, is not a number\n  remedy: write the adapter again with peft")
    if used := next((name for name in UNSUPPORTED if config.get(name) is not None), None):
        raise ConfigError(f"{path}: {used} is not supported\n  remedy: train a plain LoRA adapter, without it")
    return dict(config)


def _weights_digest(directory: Path) -> str:
    from safetensors import SafetensorError, safe_open

    path = directory / ADAPTER
    if not path.is_file():
        pickled = (directory / "adapter_model.bin").is_file()
        why = "only adapter_model.bin, a pickle, which may run code" if pickled else f"no {ADAPTER}"
        raise ConfigError(
            f"adapter {directory} has {why}\n  remedy: save it with save_pretrained of peft, which writes safetensors"
        )
    try:
        with safe_open(path, "pt"):
            pass
    except SafetensorError as e:
        raise ConfigError(f"{path} is not a complete safetensors file ({e})\n  remedy: copy it again") from None
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def _refuse_other_base(adapter: Adapter, model: ResolvedModel) -> None:
    """Refuse an adapter that names another base. A path of another machine, or a copy of a hub model, cannot tell."""
    base, on_hub = adapter.base, model.revision is not None
    if base is None or Path(base).exists() or Path(base).is_absolute() or not on_hub or base == model.source:
        return
    raise ConfigError(
        f"adapter {adapter.directory} was trained on {base:.200}, not on {model.source}\n  remedy: --model {base:.200}"
    )


def _stored_shapes(directory: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    with safe_open(directory / ADAPTER, "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def _expected_shapes(adapter: Adapter, model: ResolvedModel) -> dict[str, tuple[int, ...]]:
    """The shapes that this adapter has on `model`, from a model without weights.

    Raises:
        ConfigError: the model has none of its layers, or its configuration is not one of peft's.
    """
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    bare = empty(load_config(model))
    try:
        settings: Any = LoraConfig.from_pretrained(adapter.directory)
        settings.init_lora_weights = True  # others compute the start of a training from the base's weights
        settings.base_model_name_or_path = None  # else peft warns that it is another
        adapted: Any = get_peft_model(bare, settings, low_cpu_mem_usage=True)
        state = get_peft_model_state_dict(adapted, save_embedding_layers=False)
    except (ValueError, TypeError, KeyError, AttributeError) as e:
        raise _misfit(adapter, model, f"{e!s:.200}") from None
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _misfit(adapter: Adapter, model: ResolvedModel, why: str) -> ConfigError:
    named = f"it names {adapter.base:.200} as its base" if adapter.base else "it does not name its base"
    return ConfigError(
        f"adapter {adapter.directory} does not fit {model.source}: {why}\n"
        f"  remedy: give the model that it was trained on with --model ({named})"
    )
