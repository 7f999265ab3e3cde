"""The device on which a model computes."""

from __future__ import annotations

from ..errors import ConfigError


def pick_device(device: str) -> str:
    """The device of `execution.device`; ``auto`` means CUDA if it is available, else Apple's GPU, else the CPU.

    Raises:
        ConfigError: this machine has no such device.
    """
    import torch

    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return next(name for name, is_available in available.items() if is_available)
    if not available[device]:
        raise ConfigError(f"execution.device is {device}, but this machine has none; use auto or cpu")
    return device
