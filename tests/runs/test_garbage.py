"""``ssb gc`` on stores that real runs made: what it deletes, and everything that it keeps."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ssb_core.config import RunConfig
from ssb_core.errors import StoreError
from ssb_core.progress import Progress
from ssb_core.runs import Run, garbage
from ssb_core.runs.pipeline import Pipeline
from ssb_core.store import Manifest, Recipe, Store, audit, lock
from tests.support.cli import ssb
from tests.support.runs import copied, run_stages
from tests.support.small_store import RECIPE


@pytest.fixture
def copy(quick_run: Run, tmp_path: Path) -> Run:
    """A finished run in a store of its own."""
    return copied(quick_run, tmp_path)


def make_older(store: Store, days: float = 30) -> None:
    """Make every file of a store older."""
    for path in store.root.rglob("*"):
        os.utime(path, (path.stat().st_mtime - days * garbage.DAY,) * 2)


def stages_with_garbage(run: Run) -> set[str]:
    """The stages of which `gc` would delete files that are older than a week."""
    return {g.stage for g in garbage.find(run.store, [run.directory.parent], 7)}


def test_gc_finds_nothing_in_a_store_of_one_run(copy: Run) -> None:
    make_older(copy.store)
    code, output = ssb("gc", "--runs", str(copy.directory.parent), run=copy)
    assert (code, output) == (0, f"{copy.store}: 0 files, 0 Bytes that no run needs\n")


def test_gc_deletes_what_another_run_left_and_nothing_that_a_run_needs(
    copy: Run, small: RunConfig, tmp_path: Path
) -> None:
    needed = {p.relative_to(copy.store.root) for p in copy.store.root.rglob("*") if p.is_file()}
    other = small.model_copy(update={"rollouts": small.rollouts.model_copy(update={"seed": 5})})
    run_stages(other, copy.store, tmp_path / "gone", "select")
    (copy.store.root / "rollouts" / "stray.parquet.1.tmp").touch()
    make_older(copy.store)
    arguments = ("gc", "--runs", str(copy.directory.parent))
    code, output = ssb(*arguments, run=copy)
    assert code == 0 and "rollouts" in output and "; --delete" in output
    assert len(list(copy.store.root.glob("rollouts/*/recipe.json"))) == 2
    code, output = ssb(*arguments, "--delete", run=copy)
    assert code == 0 and "deleted" in output
    left = {p.relative_to(copy.store.root) for p in copy.store.root.rglob("*") if p.is_file()}
    assert needed <= left and len(list(copy.store.root.glob("rollouts/*/recipe.json"))) == 1
    assert audit.verify(copy.store, Progress()).findings == []


def test_gc_keeps_young_files(copy: Run) -> None:
    (copy.directory / "stages.json").write_text("[]")
    assert stages_with_garbage(copy) == set()


def test_gc_keeps_what_an_unfinished_run_has_begun_and_what_is_being_written(copy: Run, small: RunConfig) -> None:
    spec = Pipeline.of(small, copy.store.root).wave(0, 64).rollouts
    (copy.directory / "stages.json").write_text("[]")
    make_older(copy.store)
    copy.draft.note_begun(spec, "rollouts wave 1")
    assert stages_with_garbage(copy) == {"select", "teach", "distill", "evaluate"}
    copy.draft.path("begun.json").unlink()
    with lock.acquire(copy.store.directory(spec.recipe) / "writer.lock", "rollouts", print):
        make_older(copy.store)
        assert "rollouts" not in stages_with_garbage(copy)
    assert "rollouts" in stages_with_garbage(copy)


def test_gc_keeps_what_a_run_had_made_before_it_began_again(copy: Run, small: RunConfig) -> None:
    make_older(copy.store)
    assert stages_with_garbage(copy) == set()
    for _ in range(2):  # killed at once, twice
        copy.begin(small)
        assert stages_with_garbage(copy) == set()
    copy.draft.note_begun(Pipeline.of(small, copy.store.root).wave(0, 64).rollouts, "rollouts wave 1")
    assert stages_with_garbage(copy) == set()


def test_gc_keeps_all_of_a_recipe_that_has_a_damaged_manifest(copy: Run) -> None:
    make_older(copy.store)
    for path in copy.store.root.glob("teach/*/manifests/*.json"):  # no run lists one of them: that of the solutions
        raw = bytearray(path.read_bytes())
        raw[len(raw) // 2] ^= 1
        path.write_bytes(raw)
        os.utime(path, (0, 0))
    assert stages_with_garbage(copy) == set()


def test_gc_keeps_old_shards_of_young_requests(copy: Run) -> None:
    (copy.directory / "stages.json").write_text("[]")
    make_older(copy.store)
    os.utime(next(iter(copy.store.root.glob("rollouts/*/manifests/*.json"))))
    assert "rollouts" not in stages_with_garbage(copy)


def test_gc_keeps_shards_of_requests_that_were_made_in_the_meantime(copy: Run) -> None:
    (copy.directory / "stages.json").write_text("[]")
    make_older(copy.store)
    rollouts = [g for g in garbage.find(copy.store, [copy.directory.parent], 7) if g.stage == "rollouts"]
    path = next(iter(copy.store.root.glob("rollouts/*/manifests/*.json")))
    manifest, recipe = Manifest.read(path), json.loads((path.parents[1] / "recipe.json").read_text())
    copy.store.commit(Recipe("rollouts", recipe), replace(manifest, fingerprint="f" * 16))
    garbage.delete(copy.store, rollouts)
    assert not path.exists() and all((path.parents[1] / f.path).exists() for f in manifest.files)


def test_gc_refuses_to_delete_anything_if_a_run_cannot_be_read(copy: Run) -> None:
    (copy.directory / "stages.json").write_text("{")
    with pytest.raises(StoreError, match="so nothing is known to be garbage\n  remedy: "):
        list(garbage.find(copy.store, [copy.directory.parent], 0))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), min_size=1, max_size=8, unique_by=lambda t: t[0]))
def test_gc_never_deletes_a_shard_that_a_needed_manifest_lists(requests: list[tuple[str, bool]]) -> None:
    """Neighbouring requests share shards. A request that a run lists keeps all of its shards."""
    with tempfile.TemporaryDirectory() as folder:
        store, runs = Store(Path(folder) / "store"), Path(folder) / "runs"
        store.prepare(RECIPE)
        shards = {n: store.write_shard(RECIPE, n, pa.table({"x": [ord(n)]}), [n], None) for n in "abcdefg"}
        listed = []
        for name, needed in requests:
            files = (shards[name].file, shards[chr(ord(name) + 1)].file)
            store.commit(RECIPE, Manifest("rollouts", RECIPE.hash, f"print-{name}", files))
            if needed:
                listed.append({"stage": "rollouts", "recipe": RECIPE.hash, "fingerprint": f"print-{name}"})
        (runs / "r").mkdir(parents=True)
        row = {"label": "", "status": "ran", "seconds": 0, "made": 0, "reused": 0, "rows": 0}
        (runs / "r" / "stages.json").write_text(json.dumps([row | one for one in listed]))
        make_older(store)
        garbage.delete(store, list(garbage.find(store, [runs], 7)))
        kept = {n for name, needed in requests if needed for n in (name, chr(ord(name) + 1))}
        assert {p.stem for p in store.root.rglob("*.parquet")} == kept
        for name, needed in requests:
            assert (store.manifest(RECIPE, f"print-{name}") is not None) == needed
