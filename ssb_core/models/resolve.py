"""From the model that the user named to one that is known to exist, with an identity that names its exact weights."""

from __future__ import annotations

import hashlib
import json
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..config import ModelConfig
from ..config.frozen import Frozen
from ..errors import ConfigError
from ..progress import Progress
from ..store import Layout
from . import gguf, hub

REMEDY = "remedy: write the weights again with save_pretrained, which makes safetensors"
NANO = Path(__file__).parents[1] / "nano" / "model"


class ResolvedModel(Frozen):
    """A model that is known to exist: where its files are, and a digest or commit that names their content.

    `source` is a directory, or a hub id at the commit `revision`. `gguf` is the file from which that directory is
    converted. `chat_template` is the text that replaces the model's own template.
    """

    source: str
    revision: str | None
    identity: str
    dtype: str
    gguf: str | None = None
    chat_template: str | None = None

    @property
    def recipe(self) -> dict[str, str]:
        """The properties of the model that decide results, as recipes hash them."""
        content = {"identity": self.identity, "dtype": self.dtype}
        if self.chat_template is not None:
            content["chat_template"] = hashlib.sha256(self.chat_template.encode()).hexdigest()[:16]
        return content


def resolve(config: ModelConfig, store_root: Path) -> ResolvedModel:
    """Find the model and name its content. Its GGUF file, if it is one, will be converted below `store_root` later.

    Raises:
        ConfigError: there is no such model, it has no usable weights, or the chat template cannot be read.
    """
    located = _locate(config, store_root)
    return ResolvedModel(**located, dtype=config.dtype, chat_template=_read_template(config.chat_template))


def local(model: ResolvedModel, progress: Progress | None = None) -> str:
    """The directory or hub id (at `model.revision`) for libraries to read. Converts a GGUF file that is not converted.

    Raises:
        ConfigError: the GGUF file is gone, was changed since it was resolved, or cannot be converted.
    """
    if model.gguf is not None:
        gguf.convert(Path(model.gguf), Path(model.source), progress)
    return model.source


def _locate(config: ModelConfig, store_root: Path) -> dict[str, Any]:
    directory = NANO if config.source == "nano" else Path(config.source).expanduser()
    if os.path.isdir(directory):  # False for a name too long, where pathlib raises
        return {"source": str(directory.resolve()), "revision": None, "identity": _directory_digest(directory)}
    if config.source.lower().endswith(".gguf"):
        file = gguf.find(config.source)
        identity = gguf.identity(file)
        target = Layout(store_root.resolve()).models / identity
        return {"source": str(target), "revision": None, "identity": identity, "gguf": str(file)}
    commit = hub.commit(config.source, config.revision)
    return {"source": config.source, "revision": commit, "identity": f"{config.source}@{commit}"}


def weight_files(directory: Path) -> list[Path]:
    """The files from which a directory's weights are read.

    Raises:
        ConfigError: there are none, or its index names a file of another kind, in another place, or a missing one.
    """
    index = directory / hub.INDEX
    names = files_in_index(index) if index.is_file() else [hub.SINGLE_FILE]
    if missing := [n for n in names if not (directory / n).is_file()]:
        raise ConfigError(
            f"model directory {directory} has no .safetensors weights: {missing[0]} is missing\n  {REMEDY}"
        )
    return [directory / n for n in names]


def files_in_index(index: Path) -> list[str]:
    """The files that an index of weights names.

    Raises:
        ConfigError: the file is not such an index, or it names a file of another kind or in another place.
    """
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        bad = next((n for n in names if Path(n).name != n or not n.endswith(".safetensors")), None)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
        raise ConfigError(f"model.source: {index} is not an index of weights ({e!s:.100})\n  {REMEDY}") from None
    if bad is not None:
        raise ConfigError(f"model.source: {index} names {bad!r:.100}; only safetensors beside it are read\n  {REMEDY}")
    return names


def _directory_digest(directory: Path) -> str:
    weight_files(directory)
    files = [
        p for p in sorted(directory.iterdir()) if p.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt")
    ]
    if odd := [p for p in files if not p.is_file()]:
        raise ConfigError(f"model.source: {odd[0]} is not a file, nor a link to one\n  remedy: remove it")
    digest = hashlib.sha256()
    for path in files:
        if path.name != "build.json":
            stat = path.stat()
            digest.update(path.name.encode() + _file_digest(path.resolve(), stat.st_size, stat.st_mtime_ns))
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1024)
def _file_digest(path: Path, size: int, changed: int) -> bytes:
    with path.open("rb") as f:
        return hashlib.file_digest(f, "sha256").digest()


def _read_template(path: str | None) -> str | None:
    if path is None:
        return None
    try:
        text = Path(path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError) as e:
        raise ConfigError(
            f"model.chat_template: cannot read {path}: {e}\n  remedy: give a Jinja file, or null"
        ) from None
    if not text.strip():
        raise ConfigError(f"model.chat_template: {path} is empty\n  remedy: give a Jinja file, or null")
    return text
