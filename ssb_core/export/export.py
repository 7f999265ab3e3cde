"""A finished run's results as others use them, without a line of ours: adapter, merged weights, curated data set.

Each export is a directory with a README.md (the model or data card of the hub) and `MARK`, the same provenance for
programs. It is written beside its target and renamed, so that a directory that exists is whole; an export that was
killed is swept by the next one to the same place.
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
from ..results.provenance import Origin
from ..runs import Run
from ..store.lock import exclusive
from . import cards, dataset, student

Kind = Literal["adapter", "merged", "dataset"]
MARK = "ssb_export.json"


@dataclass(frozen=True, slots=True)
class Exported:
    """One directory that was written; `rows` are those of a data set."""

    kind: Kind
    directory: Path
    files: int
    bytes: int
    rows: int = 0


def export(run: Run, targets: Mapping[Kind, Path], *, signal: bool = False, overwrite: bool = False) -> list[Exported]:
    """Write what is asked for, each kind to its directory.

    Directories, model, weights and problems are checked before anything is written; shards as they are read.
    `signal` adds the teacher's hidden states to the data set, `overwrite` replaces earlier exports.

    Raises:
        ConfigError: nothing is asked for, a directory cannot be used, the run has no student or no traces, or its
            model or problems are no longer what they were.
        StoreError: the store no longer holds what the run made, or another process writes to the same directory.
    """
    _check_targets(targets, signal, overwrite)
    origin = Origin.of(run)
    make = _makers(origin, targets, signal)
    return [_write(kind, target.resolve(), target, make[kind], origin) for kind, target in targets.items()]


Maker = Callable[[Origin, Path], cards.Card]


def _makers(origin: Origin, targets: Mapping[Kind, Path], signal: bool) -> dict[Kind, Maker]:
    """How each kind is made; refuses what the run cannot give."""
    makers: dict[Kind, Maker] = {}
    if "adapter" in targets or "merged" in targets:
        trained = student.find(origin.run)
        makers |= {"adapter": lambda o, d: student.write_adapter(o, trained, d)}
        makers |= {"merged": lambda o, d: student.write_merged(o, trained, d)}
    if "dataset" in targets:
        traces = dataset.find(origin)
        makers |= {"dataset": lambda o, d: dataset.write(o, traces, d, signal)}
    return makers


def _check_targets(targets: Mapping[Kind, Path], signal: bool, overwrite: bool) -> None:
    if not targets:
        raise ConfigError("say what to export: --adapter DIR, --merged DIR or --dataset DIR (one, or several at once)")
    if signal and "dataset" not in targets:
        raise ConfigError("--signal adds the teacher's signal to a data set: give --dataset DIR too")
    placed: dict[Path, Kind] = {}
    for kind, target in targets.items():
        _check_place(kind, target, overwrite)
        here = target.resolve()
        for other, its in placed.items():
            if here.is_relative_to(other) or other.is_relative_to(here):
                raise ConfigError(f"--{its} {other} and --{kind} {here} share a directory; give each one of its own")
        placed[here] = kind


def _check_place(kind: Kind, target: Path, overwrite: bool) -> None:
    if target.exists() and not target.is_dir():
        raise ConfigError(f"--{kind} {target} is a file; give a directory")
    here, inside = target.resolve(), f"\n  remedy: give a directory inside it, e.g. {target / kind}"
    if os.path.ismount(here):
        raise ConfigError(f"--{kind} {target} is a mount point, which nothing can be renamed to{inside}")
    if Path.cwd().is_relative_to(here):
        raise ConfigError(f"--{kind} {target} is, or holds, the directory you are in, and would be replaced{inside}")
    if not target.is_dir() or not any(target.iterdir()):
        return
    if not overwrite:
        raise ConfigError(f"--{kind} {target} is not empty\n  remedy: give another directory, or add --overwrite")
    if not (target / MARK).is_file():
        raise ConfigError(
            f"--overwrite replaces nothing but earlier exports, and {target} is none (it holds no {MARK})\n"
            "  remedy: give another directory, or empty it yourself"
        )


def _write(kind: Kind, target: Path, named: Path, make: Maker, origin: Origin) -> Exported:
    with _replacing(target) as directory:
        card = make(origin, directory)
        cards.write(card, origin, directory)
        cards.write_mark(card, origin, directory / MARK)
        files = _settle(directory)
    return Exported(kind, named, len(files), sum(files), card.rows)


@contextmanager
def _replacing(target: Path) -> Iterator[Path]:
    """An empty directory beside `target` to fill; it becomes `target` at the end, or is gone."""
    partial, old = (target.with_name(f".{target.name}.{what}") for what in ("partial", "old"))
    partial.mkdir(parents=True, exist_ok=True)
    with exclusive(partial) as held:
        if not held:
            raise StoreError(f"another process is at work on this export to {target} ({partial}); wait for it")
        try:
            for left in partial.iterdir():  # by an export that was killed
                shutil.rmtree(left) if left.is_dir() else left.unlink()
            yield partial
            _swap(partial, target, old)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _swap(new: Path, target: Path, old: Path) -> None:
    """Put `new` in the place of `target`, which stands at `old` until then; if that fails, it is back."""
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


def _settle(directory: Path) -> list[int]:
    """Sizes of all files, once they are on the disk and readable like any other (safetensors makes private ones)."""
    mode = (directory / MARK).stat().st_mode
    files = [p for p in directory.rglob("*") if p.is_file()]
    for path in files:
        path.chmod(mode)
        with path.open("rb") as f:
            os.fsync(f.fileno())
    return [p.stat().st_size for p in files]
