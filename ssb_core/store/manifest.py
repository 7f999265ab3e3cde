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


def _checked(path: Path) -> dict[str, Any]:
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
class File:
    """A file that was listed: its bytes, and when it was written, as Unix time in seconds.

    `mark` is what changes when a file at a URL does.
    """

    bytes: int
    written: float
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
class Entry:
    """One file of a manifest: path below the recipe's directory, size in bytes, checksum, rows (0 if no table)."""

    path: str
    bytes: int
    sha256: str
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Shard:
    """A sidecar: the shard's entry, the problems in it, and the checksum of the upstream shard it was made from."""

    entry: Entry
    problem_ids: tuple[str, ...]
    source: str | None

    @classmethod
    def read(cls, path: Path) -> Self:
        """The sidecar at `path`.

        Raises:
            OSError, ValueError, KeyError, TypeError: it cannot be read, or speaks of another shard than its name does.
        """
        raw = _checked(path)
        found = cls(Entry(**raw["entry"]), tuple(raw["problem_ids"]), raw["source"])
        if found.entry.path != f"shards/{path.stem}.parquet":
            raise ValueError(f"it speaks of {found.entry.path}")
        return found


@dataclass(frozen=True)  # without slots: its key is kept
class Manifest:
    """What one request of a stage is made of. `facts` are small figures about the rows; no times, so bytes repeat."""

    stage: str
    recipe: str
    fingerprint: str
    entries: tuple[Entry, ...]
    sources: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """The manifest at `path`.

        Raises:
            OSError, ValueError, KeyError, TypeError: it cannot be read, or is another request's.
        """
        raw = _checked(path)
        entries = tuple(Entry(**e) for e in raw.pop("entries"))
        found = cls(**{**raw, "entries": entries, "sources": tuple(raw["sources"])})
        if (found.fingerprint, found.recipe) != (path.stem, path.parents[1].name):
            raise ValueError(f"it is that of {found.recipe}/{found.fingerprint}")
        return found

    @property
    def rows(self) -> int:
        """Rows of its shards; of a distillation, the traces it was trained on."""
        return int(self.facts.get("traces", sum(e.rows for e in self.entries)))

    @property
    def units(self) -> int:
        """What a restart can spare: training steps where the facts count them, else files."""
        return int(self.facts.get("steps", len(self.entries)))

    @cached_property
    def key(self) -> str:
        """Digest of the contents; equal for equal results."""
        return digest(asdict(self))
