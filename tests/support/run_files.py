"""The files of a folder with a store and one run, and how they differ from before, or from another folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ssb_core.store import sha256_file
from ssb_core.training.checkpoints import SEAL

Stamp = tuple[int, int]
WITH_TIMES = {"seconds", "speed.json", "stages.json", "summary.json", "report.html"}
"""Names of files that hold times, or whether a stage was resumed, and of folders of such files."""

RESULTS = ("fingerprints", "yield", "signal", "benchmarks", "rounds")


def finished_files(folder: Path) -> dict[str, Stamp]:
    """Inode and time of every finished file: shards with their sidecars, manifests, and the files that these list."""
    store = folder / "store"
    files = [p for s in store.rglob("shards/*.json") for p in (s, s.with_suffix(".parquet"))]
    for manifest in store.rglob("manifests/*.json"):
        listed = json.loads(manifest.read_text())["entries"]
        files += [manifest, *(manifest.parents[1] / e["path"] for e in listed)]
    return {str(p.relative_to(store)): (p.stat().st_ino, p.stat().st_mtime_ns) for p in files if p.exists()}


def made_again(before: dict[str, Stamp], after: dict[str, Stamp]) -> list[str]:
    """Finished files that were made again since, or are gone."""
    return sorted(path for path in before if after.get(path) != before[path])


def last_checkpoint(folder: Path) -> int:
    """The last training step of which there is a sealed checkpoint; 0 if there is none."""
    seals = (folder / "store").glob(f"distill/*/*.work/checkpoint-*/{SEAL}")
    return max((int(path.parent.name.rsplit("-", 1)[1]) for path in seals), default=0)


def checksums(folder: Path) -> dict[str, str]:
    """Checksum of every file of the store and the run, except for files that hold times."""
    sums = {}
    for part in ("store", "runs"):
        for path in sorted((folder / part).rglob("*")):
            if path.is_file() and (path.suffix == ".tmp" or not WITH_TIMES & {path.name, path.parent.name}):
                sums[str(path.relative_to(folder))] = sha256_file(path)
    return sums


def run_results(folder: Path) -> dict[str, Any]:
    """The run's summary without times."""
    (path,) = folder.glob("runs/*/summary.json")
    summary = json.loads(path.read_text())
    return {key: summary[key] for key in RESULTS}


def differences(folder: Path, reference: Path) -> list[str]:
    """Files and results that differ from those of an uninterrupted run. Temporary files count as well."""
    ours, theirs = checksums(folder), checksums(reference)
    different = sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
    return different + [key for key, value in run_results(reference).items() if run_results(folder)[key] != value]
