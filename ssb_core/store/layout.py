"""Every path in a store, and the meaning of file names.

`Layout` gives the paths below the store's root, and `RecipeFolder` the paths of one recipe. The functions take or
return a *name*: a file's path below its recipe's folder, with slashes, as listings give it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import StoreError
from .files import UNREADABLE

FORMAT = 1
"""The version of the layout. Raise it when a reader of older versions would misread the store."""

RECIPE = "recipe.json"
LOCK = "writer.lock"
TABLE, JSON, WORK = ".parquet", ".json", ".work"
SHARDS, MANIFESTS, SECONDS = "shards", "manifests", "seconds"
MODELS, RESULTS = "models", "results"  # folders at the root that belong to no stage
HASH_LENGTH = 16  # of a recipe's hash, which is the name of its folder


@dataclass(frozen=True, slots=True)
class RecipeFolder:
    """Paths of one recipe, whose folder is at `path`: its shards, and a few files for each request of it."""

    path: Path

    @property
    def recipe(self) -> Path:
        """The recipe itself, for readers and for listing recipes."""
        return self.path / RECIPE

    @property
    def lock(self) -> Path:
        """The lock of the one process that writes here."""
        return self.path / LOCK

    @property
    def shards(self) -> Path:
        """The folder of all shards and their sidecars."""
        return self.path / SHARDS

    @property
    def manifests(self) -> Path:
        """The folder of the finished requests' manifests."""
        return self.path / MANIFESTS

    @property
    def seconds(self) -> Path:
        """The folder of the notes of how long each request took."""
        return self.path / SECONDS

    def table(self, shard: str) -> Path:
        """The Parquet file of a shard."""
        return self.path / table_name(shard)

    def sidecar(self, shard: str) -> Path:
        """The sidecar of a shard."""
        return self.path / sidecar_name(table_name(shard))

    def manifest(self, fingerprint: str) -> Path:
        """The manifest of a request."""
        return self.path / manifest_name(fingerprint)

    def seconds_note(self, fingerprint: str) -> Path:
        """The note of how long a request took."""
        return self.path / seconds_name(fingerprint)

    def outputs(self, fingerprint: str) -> Path:
        """The folder of the files of a request that are not shards, such as an adapter."""
        return self.path / fingerprint

    def work(self, fingerprint: str, version: str) -> Path:
        """The folder of unfinished work on one version of a request."""
        return self.path / f"{fingerprint}.{version}{WORK}"

    def all_work(self, fingerprint: str) -> Iterator[Path]:
        """The folders of unfinished work on every version of a request, as they are on this machine."""
        return self.path.glob(work_pattern(fingerprint))


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths below the store's `root`."""

    root: Path

    @property
    def format(self) -> Path:
        """The note of the layout's version."""
        return self.root / "format.json"

    @property
    def models(self) -> Path:
        """The folder of models that were converted from other formats. They can be converted again."""
        return self.root / MODELS

    @property
    def results(self) -> Path:
        """The folder of Prefect's cached results."""
        return self.root / RESULTS

    def recipe(self, stage: str, recipe: str) -> RecipeFolder:
        """The folder of a recipe, by its stage and hash."""
        return RecipeFolder(self.root / stage / recipe)

    def files_of_work(self, name: str) -> Iterator[Path]:
        """Every file of this name in a folder of unfinished work of any recipe, as they are on this machine."""
        return self.root.glob(f"*/*/*{WORK}/{name}")

    def refuse_other_format(self, store: str) -> None:
        """Refuse a store of another layout version. A store without a note is new.

        Raises:
            StoreError: another version of ssb wrote the store, or the note cannot be read.
        """
        if not self.format.exists():
            return
        try:
            version = json.loads(self.format.read_bytes())["format"]
        except UNREADABLE as e:
            remedy = f'remedy: it should hold {{"format": {FORMAT}}}'
            raise StoreError(f"{self.format} cannot be read ({e})\n  {remedy}") from None
        if version != FORMAT:
            raise StoreError(
                f"the store {store} has format {version}, this version of ssb reads format {FORMAT}\n"
                "  remedy: give another --store, or use the version of ssb that wrote it"
            )


def table_name(shard: str) -> str:
    """The name of a shard's Parquet file."""
    return f"{SHARDS}/{shard}{TABLE}"


def sidecar_name(table: str) -> str:
    """The name of the sidecar that belongs to a Parquet file."""
    return table.removesuffix(TABLE) + JSON


def manifest_name(fingerprint: str) -> str:
    """The name of a request's manifest."""
    return f"{MANIFESTS}/{fingerprint}{JSON}"


def seconds_name(fingerprint: str) -> str:
    """The name of the note of how long a request took."""
    return f"{SECONDS}/{fingerprint}{JSON}"


def work_pattern(fingerprint: str) -> str:
    """A pattern for the folders of unfinished work on every version of a request."""
    return f"{fingerprint}.*{WORK}"


def is_table(name: str) -> bool:
    """Whether a name is that of a shard's Parquet file."""
    return name.startswith(f"{SHARDS}/") and name.endswith(TABLE)


def is_sidecar(name: str) -> bool:
    """Whether a name is that of a sidecar."""
    return name.startswith(f"{SHARDS}/") and name.endswith(JSON)


def is_manifest(name: str) -> bool:
    """Whether a name is that of a manifest."""
    return name.startswith(f"{MANIFESTS}/") and name.endswith(JSON)


def is_small(name: str) -> bool:
    """Whether a name is that of a small JSON file: the recipe, a sidecar, a manifest or a note of seconds."""
    folder, _, file = name.rpartition("/")
    return folder in ("", SHARDS, MANIFESTS, SECONDS) and file.endswith(JSON)


def is_remote_lock(name: str) -> bool:
    """Whether a name is that of a lock at a URL, which has a number at its end."""
    return name.startswith(f"{LOCK}.")


def split(path: str) -> tuple[str, str, str] | None:
    """Split a path below the store's root into stage, recipe hash and name; None if it is no recipe's file."""
    stage, recipe, name = (*path.split("/", 2), "", "")[:3]
    return (stage, recipe, name) if name and len(recipe) == HASH_LENGTH and stage != MODELS else None
