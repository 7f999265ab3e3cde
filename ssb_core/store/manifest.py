"""The store's records: recipes, files, sidecars, manifests, and the digests that name and check them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from .layout import table_name


def digest(content: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of `content` as canonical JSON.

    Raises:
        TypeError: `content` holds something that JSON cannot express stably (an object, a set, NaN).
    """
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except ValueError as e:
        raise TypeError(f"cannot hash {content!r}: {e}") from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def with_digest(content: dict[str, Any]) -> dict[str, Any]:
    """Add a digest of `content` to it, by which a reader notices damage."""
    return content | {"digest": digest(content)}


def _read_checked(path: Path) -> dict[str, Any]:
    """Read a JSON file and check it against its digest. Files of older versions have no digest and are believed.

    Raises:
        OSError, ValueError, TypeError: the file cannot be read, or its digest does not match.
    """
    content = dict(json.loads(path.read_bytes()))
    expected = content.pop("digest", None)
    if expected is not None and digest(content) != expected:
        raise ValueError("its digest differs")
    return content


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as a listing gives it: its size in bytes, and when it was modified, as Unix time in seconds.

    `version` changes whenever a file at a URL changes; it is empty for files on this machine.
    """

    bytes: int
    modified: float
    version: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The way a stage makes rows. Its `hash` names the recipe's folder."""

    stage: str
    content: dict[str, Any]

    @property
    def hash(self) -> str:
        """16 hexadecimal digits over the stage and the content."""
        return digest({"stage": self.stage, **self.content})


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a manifest: its path below the recipe's folder, size in bytes, checksum, and rows (0 if no table)."""

    path: str
    bytes: int
    sha256: str
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The record of one shard: its file, its problems, and the checksum of the upstream shard it was made from.

    On disk the file is called ``entry``.
    """

    file: FileEntry
    problem_ids: tuple[str, ...]
    source: str | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the sidecar at `path`.

        Raises:
            OSError, ValueError, KeyError, TypeError: it cannot be read, or it belongs to another shard.
        """
        content = _read_checked(path)
        sidecar = cls(FileEntry(**content["entry"]), tuple(content["problem_ids"]), content["source"])
        if sidecar.file.path != table_name(path.stem):
            raise ValueError(f"it belongs to {sidecar.file.path}")
        return sidecar

    def content(self) -> dict[str, Any]:
        """The sidecar as JSON, with the keys that it has on disk."""
        return {"entry": asdict(self.file), "problem_ids": list(self.problem_ids), "source": self.source}


@dataclass(frozen=True)  # without slots, because `key` is cached
class Manifest:
    """The files that one request of a stage produced.

    `sources` are the keys of the upstream manifests. `stats` are small figures about the rows; they hold no times, so
    equal work gives equal bytes. On disk the files are called ``entries`` and the stats ``facts``.
    """

    stage: str
    recipe: str
    fingerprint: str
    files: tuple[FileEntry, ...]
    sources: tuple[str, ...] = ()
    stats: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the manifest at `path`.

        Raises:
            OSError, ValueError, KeyError, TypeError: it cannot be read, or it belongs to another request.
        """
        content = _read_checked(path)
        files = tuple(FileEntry(**e) for e in content.pop("entries"))
        stats = content.pop("facts", {})
        manifest = cls(**{**content, "files": files, "sources": tuple(content["sources"]), "stats": stats})
        if (manifest.fingerprint, manifest.recipe) != (path.stem, path.parents[1].name):
            raise ValueError(f"it belongs to {manifest.recipe}/{manifest.fingerprint}")
        return manifest

    def content(self) -> dict[str, Any]:
        """The manifest as JSON, with the keys that it has on disk."""
        return {
            "stage": self.stage,
            "recipe": self.recipe,
            "fingerprint": self.fingerprint,
            "entries": [asdict(f) for f in self.files],
            "sources": list(self.sources),
            "facts": self.stats,
        }

    @property
    def rows(self) -> int:
        """Rows of all shards; for a distillation, the number of traces that the student was trained on."""
        return int(self.stats.get("traces", sum(f.rows for f in self.files)))

    @property
    def units(self) -> int:
        """Units of work that a restart can reuse: training steps where the stats count them, otherwise files."""
        return int(self.stats.get("steps", len(self.files)))

    @cached_property
    def key(self) -> str:
        """Digest of the content; equal for equal results."""
        return digest(self.content())
