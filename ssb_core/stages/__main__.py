"""``python -m ssb_core.stages SPEC.json``: run one stage in a fresh process.

The file holds ``{"stage": ..., "store": ..., "spec": {...}}``; the manifest's path is the last line printed.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ..progress import PlainProgress
from ..store import Store
from . import STAGES, execute, module


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 2
    job = json.loads(Path(arguments[0]).read_text())
    if job["stage"] not in STAGES:
        print(f"{arguments[0]}: there is no stage {job['stage']!r}; stages are {', '.join(STAGES)}", file=sys.stderr)
        return 2
    spec, store = module(job["stage"]).Spec.model_validate(job["spec"]), Store(Path(job["store"]))
    outcome = execute(spec, store, PlainProgress())
    print(store.directory(spec.recipe) / "manifests" / f"{outcome.manifest.fingerprint}.json")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
