"""Exports that others can use without ssb: adapter, merged weights, curated data set.

Each export is a directory with a README.md, which is its model or data card on the hub, and a `MARKER` file with the
same provenance for programs. It is written beside its target and then renamed, so a directory that exists is complete.
The next export to the same place deletes what a killed one left behind.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import ConfigError, StoreError
from ..results.provenance import Provenance
from ..results.student import find_adapter
from ..runs import Run
from ..store.lock import exclusive
from . import cards, dataset, student

Kind = Literal["adapter", "merged", "dataset"]
MARKER = "ssb_export.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """One directory that was written, with the number and size of its files. `rows` is 0 except for a data set."""

    kind: Kind
    directory: Path
    files: int
    bytes: int
    rows: int = 0


def export(run: Run, targets: Mapping[Kind, Path], *, signal: bool = False, overwrite: bool = False) -> list[Exported]:
    """Export a run: each kind of `targets` to its directory.

    Directories, model, weights and problems are checked before anything is written. Shards are checked as they are
    read. `signal` adds the teacher's signal to the data set, and `overwrite` replaces earlier exports.

    Raises:
        ConfigError: there are no targets, a directory cannot be used, the run has no student or no traces, or its model
            or problems have changed since.
        StoreError: the store no longer has the results, or another process writes to the same directory.
    """
    _check_targets(targets, signal, overwrite)
    provenance = Provenance.load(run)
    make = _makers(provenance, targets, signal)
    return [_write(kind, target, make[kind], provenance) for kind, target in targets.items()]


Maker = Callable[[Provenance, Path], cards.Card]


def _makers(provenance: Provenance, targets: Mapping[Kind, Path], signal: bool) -> dict[Kind, Maker]:
    """The functions that make each kind. Raises a ConfigError for a kind that the run cannot provide."""
    makers: dict[Kind, Maker] = {}
    if "adapter" in targets or "merged" in targets:
        adapter = find_adapter(provenance.run)
        makers |= {"adapter": lambda p, d: student.write_adapter(p, adapter, d)}
        makers |= {"merged": lambda p, d: student.write_merged(p, adapter, d)}
    if "dataset" in targets:
        waves = dataset.find(provenance)
        makers |= {"dataset": lambda p, d: dataset.write(p, waves, d, signal)}
    return makers


def _check_targets(targets: Mapping[Kind, Path], signal: bool, overwrite: bool) -> None:
    if not targets:
        raise ConfigError("say what to export: --adapter DIR, --merged DIR or --dataset DIR (one, or several at once)")
    if signal and "dataset" not in targets:
        raise ConfigError("--signal adds the teacher's signal to a data set: give --dataset DIR too")
    checked: dict[Path, Kind] = {}
    for kind, target in targets.items():
        _check_target(kind, target, overwrite)
        here = target.resolve()
        for other, other_kind in checked.items():
            if here.is_relative_to(other) or other.is_relative_to(here):
                raise ConfigError(
                    f"--{other_kind} {other} and --{kind} {here} share a directory; give each one of its own"
                )
        checked[here] = kind


def _check_target(kind: Kind, target: Path, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise ConfigError(f"--{kind} {target} is a file; give a directory")
    here, inside = target.resolve(), f"\n  remedy: give a directory inside it, e.g. {target / kind}"
    if os.path.ismount(here):
        raise ConfigError(f"--{kind} {target} is a mount point, and nothing can be renamed to it{inside}")
    if Path.cwd().is_relative_to(here):
        raise ConfigError(f"--{kind} {target} is, or holds, the directory you are in, and would be replaced{inside}")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not overwrite:
        raise ConfigError(f"--{kind} {target} is not empty\n  remedy: give another directory, or add --overwrite")
    if not (target / MARKER).is_file():
        raise ConfigError(
            f"--overwrite replaces only earlier exports, and {target} is not one (it has no {MARKER})\n"
            "  remedy: give another directory, or empty it yourself"
        )


def _write(kind: Kind, target: Path, make: Maker, provenance: Provenance) -> Exported:
    with _replacing(target.resolve()) as directory:
        card = make(provenance, directory)
        cards.write(card, provenance, directory)
        cards.write_marker(card, provenance, directory / MARKER)
        sizes = _sync_files(directory)
    return Exported(kind, target, len(sizes), sum(sizes), card.rows)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """An empty directory beside `target` to fill. It becomes `target` at the end, or is deleted after an error."""
    partial, old = (target.with_name(f".{target.name}.{suffix}") for suffix in ("partial", "old"))
    partial.mkdir(parents=True, exist_ok=True)
    with exclusive(partial) as held:
        if not held:
            raise StoreError(f"another process is exporting to {target} ({partial}); wait until it is done")
        try:
            for path in partial.iterdir():  # left behind by a killed export
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            yield partial
            _swap(partial, target, old)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, target: Path, old: Path) -> None:
    """Rename `new` to `target`. The earlier `target` is kept at `old` meanwhile, and restored if the renaming fails."""
    try:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)
            target.rename(old)
        new.rename(target)
    except BaseException:
        if old.exists() and not target.exists():
            old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _sync_files(directory: Path) -> list[int]:
    """Flush all files to disk and return their sizes. They also become as readable as others: safetensors makes private
    ones."""
    mode = (directory / MARKER).stat().st_mode
    files = [p for p in directory.rglob("*") if p.is_file()]
    for path in files:
        path.chmod(mode)
        with path.open("rb") as f:
            os.fsync(f.fileno())
    return [p.stat().st_size for p in files]
