"""Finished runs that a test may change, and changes to their models' texts."""

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
    """Run the pipeline through the public API as the preset quickstart, without progress."""
    return ssb_core.run(config, store, directory, preset="quickstart", stop=stop, progress=Progress())


def copied(run: Run, target: Path) -> Run:
    """A copy of a run and its store that a test may change."""
    shutil.copytree(run.store.root, target / "store")
    shutil.copytree(run.directory, target / "runs" / run.name)
    return Run(target / "runs" / run.name, Store(target / "store"))


def poison(run: Run, stage: str, text: str) -> None:
    """Replace every text that the models of a stage wrote by `text`."""
    import pyarrow as pa

    def with_text(table: pa.Table) -> pa.Table:
        column = table.column_names.index("text")
        return table.set_column(column, "text", pa.array([text] * table.num_rows))

    rewrite_shards(run, stage, with_text)


def mark_all(run: Run, marked: AnnotatedSolution | None) -> None:
    """Set the annotated solution in the metadata of every shard of signal to `marked`, or remove it."""

    def with_mark(table: pa.Table) -> pa.Table:
        others = {k: v for k, v in table.schema.metadata.items() if k != marks.METADATA.encode()}
        return table.replace_schema_metadata(others | (marked.dump() if marked else {}))

    rewrite_shards(run, "teach", with_mark)


def rewrite_shards(run: Run, stage: str, change: Callable[[pa.Table], pa.Table]) -> None:
    """Replace the table of every shard of a stage by `change` of it, and commit the manifests again."""
    recipes = {r.hash: r for r in (Recipe(stage, content) for content in run.store.recipes(stage))}
    for manifest in run.manifests(stage):
        recipe, files = recipes[manifest.recipe], []
        for file in manifest.files:
            shard, table = run.store.sidecar(manifest, file), run.store.table(manifest, file)
            name = Path(file.path).stem
            files.append(run.store.write_shard(recipe, name, change(table), shard.problem_ids, shard.source).file)
        run.store.commit(recipe, replace(manifest, files=tuple(files)))
