"""What must hold of a store whatever was done to its processes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssb_core.store import sha256_file
from ssb_core.training.checkpoints import SEAL

Stamp = tuple[int, int]
TIMES = {"seconds", "speed.json", "stages.json", "summary.json"}  # hold times, or whether a stage was resumed
RESULTS = ("fingerprints", "yield", "signal", "benchmarks", "rounds")


def committed(folder: Path) -> dict[str, Stamp]:
    """Inode and time of every file that is finished: shards with their sidecars, manifests, and what these list."""
    store = folder / "store"
    files = [p for s in store.rglob("shards/*.json") for p in (s, s.with_suffix(".parquet"))]
    for manifest in store.rglob("manifests/*.json"):
        listed = json.loads(manifest.read_text())["entries"]
        files += [manifest, *(manifest.parents[1] / e["path"] for e in listed)]
    return {str(p.relative_to(store)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files if p.exists()}


def redone(before: dict[str, Stamp], after: dict[str, Stamp]) -> list[str]:
    """Finished files that were made again, or are gone."""
    return sorted(path for path in before if after.get(path) != before[path])


def checkpoints(folder: Path) -> int:
    """The last training step that a sealed checkpoint holds."""
    seals = (folder / "store").glob(f"distill/*/*.work/checkpoint-*/{SEAL}")
    return max((int(path.parent.name.rsplit("-", 1)[1]) for path in seals), default=0)


def contents(folder: Path) -> dict[str, str]:
    """Checksum of every file of the store and the run, but those that hold times."""
    found = {}
    for part in ("store", "runs"):
        for path in sorted((folder / part).rglob("*")):
            if path.is_file() and (path.suffix == ".tmp" or not TIMES & {path.name, path.parent.name}):
                found[str(path.relative_to(folder))] = sha256_file(path)
    return found


def results(folder: Path) -> dict[str, Any]:
    """What the summary says but for times."""
    (path,) = folder.glob("runs/*/summary.json")
    summary = json.loads(path.read_text())
    return {key: summary[key] for key in RESULTS}


def differences(folder: Path, reference: Path) -> list[str]:
    """Which files or results differ from those of an uninterrupted run; temporary ones are files, too."""
    found, wanted = contents(folder), contents(reference)
    different = sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))
    return different + [key for key, value in results(reference).items() if results(folder)[key] != value]
