"""What the store says of its files: its format, recipes, entries, sidecars, manifests, and digests that name them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from ..errors import StoreError
from .files import UNREADABLE

FORMAT = 1
"""How the store is laid out; bump it when a reader of older ones would misread it."""


def digest(content: Any) -> str:
    """16 hexadecimal digits of the SHA-256 of `content` as canonical JSON.

    Raises:
        TypeError: `content` holds something JSON cannot express stably (an object, a set, NaN).
    """
    try:
        text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    except ValueError as e:
        raise TypeError(f"cannot hash {content!r}: {e}") from None
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def refuse_other_format(path: Path, store: str) -> None:
    """Refuse a store that another version has laid out, by what the file at `path` says, if there is one."""
    if not path.exists():
        return
    try:
        found = json.loads(path.read_bytes())["format"]
    except UNREADABLE as e:
        remedy = f'remedy: it should hold {{"format": {FORMAT}}}'
        raise StoreError(f"{path} cannot be read ({e})\n  {remedy}") from None
    if found != FORMAT:
        raise StoreError(
            f"the store {store} has format {found}, this version of ssb reads format {FORMAT}\n"
            "  remedy: give another --store, or use the version of ssb that wrote it"
        )


def with_digest(content: dict[str, Any]) -> dict[str, Any]:
    """What a file is to say, with what tells whether it still does."""
    return content | {"digest": digest(content)}


def _read_checked(path: Path) -> dict[str, Any]:
    """What a file says, if that is what was written; files of before there were digests are believed.

    Raises:
        OSError, ValueError, TypeError: it cannot be read, or says something else.
    """
    raw = dict(json.loads(path.read_bytes()))
    noted = raw.pop("digest", None)
    if noted is not None and digest(raw) != noted:
        raise ValueError("its digest is another")
    return raw


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file that was listed: its bytes, and when it was written, as Unix time in seconds.

    `mark` is what changes when a file at a URL does.
    """

    bytes: int
    modified: float
    mark: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a stage makes rows. Its `hash` names the stage's directory."""

    stage: str
    content: dict[str, Any]

    @property
    def hash(self) -> str:
        return digest({"stage": self.stage, **self.content})


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a manifest: path below the recipe's directory, size in bytes, checksum, rows (0 if no table)."""

    path: str
    bytes: int
    sha256: str
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A sidecar: the shard's entry, the problems in it, and the checksum of the upstream shard it was made from."""

    entry: FileEntry
    problem_ids: tuple[str, ...]
    source: str | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """The sidecar at `path`.

        Raises:
            OSError, ValueError, KeyError, TypeError: it cannot be read, or speaks of another shard than its name does.
        """
        raw = _read_checked(path)
        found = cls(FileEntry(**raw["entry"]), tuple(raw["problem_ids"]), raw["source"])
        if found.entry.path != f"shards/{path.stem}.parquet":
            raise ValueError(f"it speaks of {found.entry.path}")
        return found


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
