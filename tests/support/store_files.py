"""The finished files of a store, as tests compare them before and after a fault."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def counter(store: Path, pattern: str) -> Callable[[], int]:
    """A function that counts the files of a store that match a pattern now."""
    return lambda: len(list(store.glob(pattern)))


def committed(store: Path) -> dict[str, int]:
    """The modification time (ns) of each finished shard by its path. A shard without a sidecar is not finished."""
    tables = store.rglob("shards/*.parquet")
    return {str(p): p.stat().st_mtime_ns for p in tables if p.with_suffix(".json").exists()}


def manifests(store: Path) -> dict[str, bytes]:
    """The content of every manifest by its relative path. A manifest has the checksum of each of its files."""
    return {str(p.relative_to(store)): p.read_bytes() for p in store.rglob("manifests/*.json")}
