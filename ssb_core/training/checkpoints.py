"""Checkpoints of a training. A checkpoint counts only with the checksums of its files, which are written last.

It holds the student, the optimiser and the random states. A damaged checkpoint is set aside, and training goes on from
the one before.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..store import sha256_file, write_json

log = logging.getLogger(__name__)

SEAL = "checksums.json"
ASIDE = "damaged-"  # a prefix: transformers uses every folder whose name begins with "checkpoint-"


def last(work_dir: Path) -> Path | None:
    """The newest whole checkpoint in `work_dir`. Unfinished ones are deleted, damaged ones set aside."""
    for path in sorted(work_dir.glob("checkpoint-*"), key=step, reverse=True):
        if not (path / SEAL).exists():
            shutil.rmtree(path, ignore_errors=True)
        elif wrong := _difference(path):
            log.warning("%s: damaged checkpoint (%s); set aside, training goes on from the one before", path, wrong)
            shutil.rmtree(path.with_name(ASIDE + path.name), ignore_errors=True)
            path.rename(path.with_name(ASIDE + path.name))
        else:
            return path
    return None


def step(checkpoint: Path | None) -> int:
    """The optimiser steps before a checkpoint; 0 without one."""
    return int(checkpoint.name.rsplit("-", 1)[1]) if checkpoint else 0


def seal(checkpoint: Path) -> None:
    """Write the checksums of a finished checkpoint's files. From then on it counts."""
    write_json(checkpoint / SEAL, {p.name: sha256_file(p) for p in sorted(checkpoint.iterdir()) if p.is_file()})


def _difference(checkpoint: Path) -> str | None:
    """The first file of a checkpoint that differs from what was written."""
    try:
        sums = dict(json.loads((checkpoint / SEAL).read_bytes()))
        there = {p.name for p in checkpoint.iterdir() if p.is_file()} - {SEAL}
        if there != set(sums):
            return f"files {', '.join(sorted(there ^ set(sums)))}"
        return next((name for name, sha256 in sums.items() if sha256_file(checkpoint / name) != sha256), None)
    except (FileNotFoundError, ValueError, TypeError) as e:
        return str(e)


class Sealing:
    """A `transformers.Trainer` that seals its checkpoints, and then calls `keep` with each."""

    keep: Callable[[Path], None]

    def _save_checkpoint(self, *arguments: Any, **options: Any) -> None:
        trainer: Any = self
        super()._save_checkpoint(*arguments, **options)  # type: ignore[misc]
        trainer.accelerator.wait_for_everyone()  # every process writes a file of its own
        if trainer.is_world_process_zero():
            checkpoint = Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}"
            seal(checkpoint)
            self.keep(checkpoint)
