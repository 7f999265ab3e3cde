"""Finished runs that a test may change, and changes to what their models wrote."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import ssb_core
from ssb_core.config import RunConfig
from ssb_core.progress import Progress
from ssb_core.runs import Run
from ssb_core.signal import marks
from ssb_core.signal.marks import AnnotatedSolution
from ssb_core.store import Recipe, Store

if TYPE_CHECKING:
    import pyarrow as pa

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;{{ 7*7 }}</pre>"


def run_stages(config: RunConfig, store: Store, directory: Path, stop: str = "evaluate") -> Run:
    """A run of the public API that reports to nobody, called quickstart."""
    return ssb_core.run(config, store, directory, preset="quickstart", stop=stop, progress=Progress())


def copied(run: Run, target: Path) -> Run:
    """A copy of a run and its store that a test may change."""
    shutil.copytree(run.store.root, target / "store")
    shutil.copytree(run.directory, target / "runs" / run.name)
    return Run(target / "runs" / run.name, Store(target / "store"))


def poison(run: Run, stage: str, text: str) -> None:
    """Let the models of a stage have written `text` everywhere."""
    import pyarrow as pa

    def spoilt(table: pa.Table) -> pa.Table:
        at = table.column_names.index("text")
        return table.set_column(at, "text", pa.array([text] * table.num_rows))

    rewrite_shards(run, stage, spoilt)


def mark_all(run: Run, marked: AnnotatedSolution | None) -> None:
    """Let the metadata of every shard of signal hold `marked`, or nothing of the kind."""

    def described(table: pa.Table) -> pa.Table:
        others = {k: v for k, v in table.schema.metadata.items() if k != marks.METADATA.encode()}
        return table.replace_schema_metadata(others | (marked.dump() if marked else {}))

    rewrite_shards(run, "teach", described)


def rewrite_shards(run: Run, stage: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace every shard of a stage by what `change` makes of its table."""
    recipes = {Recipe(stage, how).hash: Recipe(stage, how) for how in run.store.recipes(stage)}
    for manifest in run.manifests(stage):
        recipe, entries = recipes[manifest.recipe], []
        for entry in manifest.files:
            shard, table = run.store.sidecar(manifest, entry), run.store.table(manifest, entry)
            name = Path(entry.path).stem
            entries.append(run.store.write_shard(recipe, name, change(table), shard.problem_ids, shard.source).file)
        run.store.commit(recipe, replace(manifest, files=tuple(entries)))
