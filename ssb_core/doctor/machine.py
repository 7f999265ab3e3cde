"""Checks of the machine: processor, memory, GPUs and limits, and the device and engine that a run would use."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path

from ..config import RunConfig, require_packages
from ..config.execution import Execution
from ..engines.choose import installed
from ..results.wording import count, size
from .checks import Check
from .installation import pip

OPEN_FILES = 1024  # shards, pipes of the verifier's workers, and 64 connections of the server engine
MEMORY = Path("/proc/meminfo")
LIMIT = Path("/sys/fs/cgroup/memory.max")
DRIVER = Path("/proc/driver/nvidia/version")


def processor() -> Iterator[Check]:
    """The cores and the memory that this process may use."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    total, free = main_memory()
    yield Check("processor", "ok", f"{count(cores, 'core')}, {size(total)} of memory, {size(free)} available")


def main_memory() -> tuple[int, int]:
    """Bytes of memory in total and available, both at most the limit of a container."""
    pages = os.sysconf("SC_PAGE_SIZE")
    total = free = pages * os.sysconf("SC_PHYS_PAGES")
    if MEMORY.exists():
        rows = dict(line.split(":", 1) for line in MEMORY.read_text().splitlines())
        free = 1024 * int(rows["MemAvailable"].split()[0])
    with contextlib.suppress(OSError, ValueError):  # there is no such limit, or it is the word "max"
        total = min(total, int(LIMIT.read_text()))
    return total, min(free, total)


def gpus(config: RunConfig | None) -> Iterator[Check]:
    """Every GPU that torch can use: name, memory, compute capability, and support of bfloat16."""
    import torch

    if not torch.cuda.is_available():
        yield _no_gpu(torch.version.cuda)
        return
    for i in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(i)
        free, total = torch.cuda.mem_get_info(i)
        with torch.cuda.device(i):
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        message = (
            f"{about.name}, {size(total)} of memory, {size(free)} free, compute capability "
            f"{about.major}.{about.minor}, {'' if bf16 else 'no '}bfloat16"
        )
        if config and config.model.dtype == "bfloat16" and not bf16:
            yield Check(f"gpu {i}", "warning", message, "--set model.dtype=float16")
        else:
            yield Check(f"gpu {i}", "ok", message)


def _no_gpu(cuda: str | None) -> Check:
    import torch

    if torch.backends.mps.is_available():
        return Check("gpu", "ok", "Apple's (mps)")
    if not DRIVER.exists():
        return Check("gpu", "ok", "none")
    if cuda is None:
        message = f"there is an NVIDIA driver, but torch {torch.__version__} is built for the CPU only"
        version = torch.__version__.split("+")[0]
        remedy = pip("install", "--force-reinstall", f"torch=={version}")
        return Check("gpu", "warning", message, remedy)
    message = f"there is an NVIDIA driver, but torch (built for CUDA {cuda}) finds no GPU"
    return Check("gpu", "warning", message, "look at `nvidia-smi`: the driver's CUDA version, and CUDA_VISIBLE_DEVICES")


def device(config: RunConfig | None) -> Iterator[Check]:
    """The device that a run would compute on."""
    from ..models import pick_device

    configured = _execution(config).device
    chosen = pick_device(configured)
    yield Check("device", "ok", f"auto means {chosen}" if configured == "auto" else f"{chosen}, as configured")


def open_files() -> Iterator[Check]:
    """The number of files that this process may open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= OPEN_FILES:
        yield Check("open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"up to {soft:,}")
        return
    enough = hard == resource.RLIM_INFINITY or hard >= OPEN_FILES
    remedy = f"ulimit -n {4 * OPEN_FILES if enough and hard >= 4 * OPEN_FILES else OPEN_FILES}"
    if not enough:
        remedy += f", as root: the hard limit is {hard:,} (/etc/security/limits.conf)"
    yield Check("open files", "warning", f"up to {soft:,}; runs may need {OPEN_FILES:,}", remedy)


def engine(config: RunConfig | None) -> Iterator[Check]:
    """The engine that would sample, and the reason for the choice. This sends a request to a configured server."""
    from ..engines.choose import check, choose

    execution = _execution(config)
    chosen = choose(execution)
    check(execution)
    server = f" ({execution.server.url} answers)" if chosen.engine == "openai" else ""
    yield Check("engine", "ok", f"{chosen.engine}{server}: {chosen.why}")


def workers(config: RunConfig | None) -> Iterator[Check]:
    """Whether the configured workers could be started. A cluster is not contacted."""
    if config and (configured := config.execution.workers).used:
        require_packages(config.execution)
        where = f"on the cluster at {configured.address}" if configured.address else "on this machine"
        yield Check("workers", "ok", f"{configured.count} {where}, ray {installed('ray')}")


def _execution(config: RunConfig | None) -> Execution:
    return config.execution if config else Execution()
