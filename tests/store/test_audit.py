"""verify, gc and status on stores that real runs made."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from flows.cli.main import app
from ssb_core.config import RunConfig
from ssb_core.errors import StoreError
from ssb_core.progress import Progress
from ssb_core.runs import Run, garbage, status
from ssb_core.runs.pipeline import Pipeline
from ssb_core.store import Manifest, Recipe, Store, audit, lock, work
from tests.support.runs import run_stages

RECIPE = Recipe("rollouts", {"version": 1})


@pytest.fixture
def copy(quick_run: Run, tmp_path: Path) -> Run:
    """A finished run in a store of its own."""
    shutil.copytree(quick_run.store.root, tmp_path / "store")
    shutil.copytree(quick_run.directory, tmp_path / "runs" / "quick")
    return Run(tmp_path / "runs" / "quick", Store(tmp_path / "store"))


def ssb(*arguments: str, run: Run) -> tuple[int, str]:
    done = CliRunner().invoke(app, [*arguments, "--store", str(run.store)], env={"COLUMNS": "100"})
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def swap(path: Path) -> None:
    """Give it the bytes of another file of its kind."""
    others = sorted(p for p in path.parent.glob(f"*{path.suffix}") if p != path)
    path.write_bytes(others[0].read_bytes())


FILES = {
    "a shard of rollouts": "rollouts/*/shards/*.parquet",
    "a shard of select": "select/*/shards/*.parquet",
    "a shard of teach": "teach/*/shards/*.parquet",
    "a shard of evaluate": "evaluate/*/shards/*.parquet",
    "a sidecar": "rollouts/*/shards/*.json",
    "a manifest": "select/*/manifests/*.json",
    "a recipe": "teach/*/recipe.json",
    "an adapter": "distill/*/*/adapter/adapter_model.safetensors",
    "an adapter's configuration": "distill/*/*/adapter/adapter_config.json",
    "a training log": "distill/*/*/log.jsonl",
}
DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": truncate,
    "flipped": flip,
    "deleted": Path.unlink,
    "empty": empty,
    "swapped": swap,
}


HEALED = [(f, list(DAMAGES)[n % 4]) for n, f in enumerate(FILES) if f != "a recipe"]  # which is for people alone


def cases() -> list[tuple[str, str]]:
    """Every damage to every kind of file that has an equal to be swapped with."""
    single = {"a manifest", "a recipe", "an adapter", "an adapter's configuration", "a training log"}
    return [(f, d) for f in FILES for d in DAMAGES if d != "swapped" or f not in single]


@pytest.mark.parametrize(("file", "damage"), cases())
def test_every_damage_to_every_kind_of_file_is_named(copy: Run, file: str, damage: str) -> None:
    path = sorted(copy.store.root.glob(FILES[file]))[0]
    DAMAGES[damage](path)
    code, told = ssb("verify", run=copy)
    if damage == "deleted" and file in ("a recipe", "a manifest"):  # what was never asked for is no damage
        assert code == 0
        return
    named = path.with_suffix(".parquet").name if path.parent.name == "shards" else path.name
    assert code == 1 and (path.name in told or named in told), told
    assert told.splitlines()[-1].endswith("damaged or missing; --repair")


@pytest.mark.parametrize(("file", "damage"), HEALED)
def test_what_is_set_aside_is_made_again_alone(
    copy: Run, small: RunConfig, quick_run: Run, file: str, damage: str
) -> None:
    path = sorted(copy.store.root.glob(FILES[file]))[0]
    before = {p: p.stat().st_mtime_ns for p in copy.store.root.rglob("*") if p.is_file()}
    original = path.read_bytes()
    DAMAGES[damage](path)
    assert ssb("verify", "--repair", run=copy)[0] == 1
    run = run_stages(small, copy.store, copy.directory)
    assert path.read_bytes() == original
    assert run.load_summary()["benchmarks"] == quick_run.load_summary()["benchmarks"]
    touched = {p for p, when in before.items() if p.exists() and p.stat().st_mtime_ns != when}
    made_again = {p for p in touched if p.suffix == ".parquet"}
    assert made_again == ({path.with_suffix(".parquet")} if path.parent.name == "shards" and path.exists() else set())


def test_a_whole_store_is_read_to_the_last_file_and_counted(copy: Run) -> None:
    code, told = ssb("verify", run=copy)
    listed = audit.files_by_recipe(copy.store)
    manifests = sum(n.startswith("manifests/") for files in listed.values() for n in files)
    assert code == 0 and f"read {manifests} manifests, " in told.splitlines()[-1]
    assert told.splitlines()[-1].endswith("all whole")
    tables = sum(n.endswith(".parquet") for files in listed.values() for n in files)
    found = audit.verify(copy.store, Progress())
    assert found.files >= 2 * tables + manifests and found.findings == [] and found.leftovers == 0


def test_nothing_damaged_is_ever_trained_on(copy: Run, small: RunConfig, quick_run: Run) -> None:
    """Without `ssb verify` before: the stage that reads it notices."""
    manifest = copy.manifests("distill")[0]
    work.delete_request(copy.store, manifest)
    shards = sorted(copy.store.root.glob(FILES["a shard of teach"]))
    flip(next(p for p in shards if "signal" in pq.read_schema(p).names))
    told = ""
    for _ in range(3):
        try:
            run_stages(small, copy.store, copy.directory)
            break
        except StoreError as e:
            told += str(e)
    assert "was damaged (its checksum differs)" in told
    assert copy.manifests("distill")[0] == manifest == quick_run.manifests("distill")[0]


def old(store: Store, days: float = 30) -> None:
    """Make every file of a store older."""
    for path in store.root.rglob("*"):
        os.utime(path, (path.stat().st_mtime - days * garbage.DAY,) * 2)


def test_gc_finds_nothing_in_a_store_of_one_run(copy: Run) -> None:
    old(copy.store)
    code, told = ssb("gc", "--runs", str(copy.directory.parent), run=copy)
    assert (code, told) == (0, f"{copy.store}: 0 files, 0 Bytes that no run needs\n")


def test_gc_deletes_what_another_run_left_and_nothing_that_a_run_needs(
    copy: Run, small: RunConfig, tmp_path: Path
) -> None:
    needed = {p.relative_to(copy.store.root) for p in copy.store.root.rglob("*") if p.is_file()}
    other = small.model_copy(update={"rollouts": small.rollouts.model_copy(update={"seed": 5})})
    run_stages(other, copy.store, tmp_path / "gone", "select")
    (copy.store.root / "rollouts" / "stray.parquet.1.tmp").touch()
    old(copy.store)
    arguments = ("gc", "--runs", str(copy.directory.parent))
    code, told = ssb(*arguments, run=copy)
    assert code == 0 and "rollouts" in told and "; --delete" in told
    assert len(list(copy.store.root.glob("rollouts/*/recipe.json"))) == 2
    code, told = ssb(*arguments, "--delete", run=copy)
    assert code == 0 and "deleted" in told
    left = {p.relative_to(copy.store.root) for p in copy.store.root.rglob("*") if p.is_file()}
    assert needed <= left and len(list(copy.store.root.glob("rollouts/*/recipe.json"))) == 1
    assert audit.verify(copy.store, Progress()).findings == []


def test_gc_keeps_what_is_young_what_an_unfinished_run_began_and_what_somebody_writes(copy: Run) -> None:
    runs = [copy.directory.parent]
    spec = Pipeline.of(copy_config(copy), copy.store.root).wave(0, 64).rollouts
    (copy.directory / "stages.json").write_text("[]")
    assert list(garbage.find(copy.store, runs, 7)) == []  # young
    old(copy.store)
    copy.start(spec, "rollouts wave 1")
    assert {g.stage for g in garbage.find(copy.store, runs, 7)} == {"select", "teach", "distill", "evaluate"}
    (copy.directory / "begun.json").unlink()
    with lock.acquire(copy.store.directory(spec.recipe) / "writer.lock", "rollouts", print):
        old(copy.store)
        assert "rollouts" not in {g.stage for g in garbage.find(copy.store, runs, 7)}
    assert "rollouts" in {g.stage for g in garbage.find(copy.store, runs, 7)}


def copy_config(run: Run) -> RunConfig:
    from ssb_core.config import presets

    return presets.load_config(None, run.directory / "config.yaml")


def test_gc_keeps_what_a_run_had_made_before_it_began_again(copy: Run) -> None:
    old(copy.store)
    runs = [copy.directory.parent]
    assert list(garbage.find(copy.store, runs, 7)) == []
    for _ in range(2):  # killed at once, twice
        copy.begin(copy_config(copy))
        assert list(garbage.find(copy.store, runs, 7)) == []
    spec = Pipeline.of(copy_config(copy), copy.store.root).wave(0, 64).rollouts
    copy.start(spec, "rollouts wave 1")
    assert list(garbage.find(copy.store, runs, 7)) == []


def test_gc_keeps_all_of_a_recipe_of_which_a_manifest_is_damaged(copy: Run) -> None:
    old(copy.store)
    for path in copy.store.root.glob("teach/*/manifests/*.json"):  # one of them no run lists: that of the solutions
        flip(path)
        os.utime(path, (0, 0))
    assert list(garbage.find(copy.store, [copy.directory.parent], 7)) == []


def test_gc_keeps_old_shards_of_young_requests_and_those_of_requests_that_came_meanwhile(copy: Run) -> None:
    (copy.directory / "stages.json").write_text("[]")
    old(copy.store)
    manifest = next(iter(copy.store.root.glob("rollouts/*/manifests/*.json")))
    os.utime(manifest)
    runs = [copy.directory.parent]
    assert "rollouts" not in {g.stage for g in garbage.find(copy.store, runs, 7)}
    old(copy.store)
    found = [g for g in garbage.find(copy.store, runs, 7) if g.stage == "rollouts"]
    here = Manifest.read(manifest)
    copy.store.commit(
        Recipe("rollouts", json.loads((manifest.parents[1] / "recipe.json").read_text())),
        replace(here, fingerprint="f" * 16),
    )
    garbage.delete(copy.store, found)
    assert not manifest.exists() and all((manifest.parents[1] / e.path).exists() for e in here.files)


def test_gc_refuses_to_judge_where_a_run_cannot_be_read(copy: Run) -> None:
    (copy.directory / "stages.json").write_text("{")
    with pytest.raises(StoreError, match="so nothing is known to be garbage\n  remedy: "):
        list(garbage.find(copy.store, [copy.directory.parent], 0))


@settings(max_examples=25)
@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), min_size=1, max_size=8, unique_by=lambda t: t[0]))
def test_gc_never_deletes_a_shard_that_a_needed_manifest_names(requests: list[tuple[str, bool]]) -> None:
    """Requests share shards; those that a run lists keep theirs."""
    import tempfile

    import pyarrow as pa

    with tempfile.TemporaryDirectory() as folder:
        store, runs = Store(Path(folder) / "store"), Path(folder) / "runs"
        store.prepare(RECIPE)
        shards = {n: store.write_shard(RECIPE, n, pa.table({"x": [ord(n)]}), [n], None) for n in "abcdefg"}
        listed = []
        for name, wanted in requests:
            entries = (shards[name].file, shards[chr(ord(name) + 1)].file)
            store.commit(RECIPE, Manifest("rollouts", RECIPE.hash, f"print-{name}", entries))
            if wanted:
                listed.append({"stage": "rollouts", "recipe": RECIPE.hash, "fingerprint": f"print-{name}"})
        (runs / "r").mkdir(parents=True)
        row = {"label": "", "status": "ran", "seconds": 0, "made": 0, "reused": 0, "rows": 0}
        (runs / "r" / "stages.json").write_text(json.dumps([row | one for one in listed]))
        old(store)
        garbage.delete(store, list(garbage.find(store, [runs], 7)))
        kept = {n for name, wanted in requests if wanted for n in (name, chr(ord(name) + 1))}
        assert {p.stem for p in store.root.rglob("*.parquet")} == kept
        for name, wanted in requests:
            assert (store.manifest(RECIPE, f"print-{name}") is not None) == wanted


def test_status_tells_runs_and_stages_from_the_disk(copy: Run) -> None:
    begun = Run(copy.directory.parent / "begun", copy.store)
    begun.directory.mkdir()
    shutil.copy(copy.directory / "config.yaml", begun.directory)
    spec = Pipeline.of(copy_config(copy), copy.store.root).wave(0, 64).rollouts
    begun.start(spec, "rollouts wave 1")
    states = {r.name: r for r in status.runs(copy.directory.parent, copy.store)}
    assert states["quick"].state == "finished" and "nano-test: base" in states["quick"].told
    assert states["begun"].state == "unfinished" and states["begun"].told.startswith("rollouts wave 1, 2 shards")
    with lock.acquire(copy.store.directory(spec.recipe) / "writer.lock", "rollouts", print):
        (working,) = (r for r in status.runs(copy.directory.parent, copy.store) if r.name == "begun")
        assert working.state == "at work" and f"process {os.getpid()}" in working.told
        code, told = ssb("status", "--runs", str(copy.directory.parent), run=copy)
    assert code == 0 and max(map(len, told.splitlines())) <= 100
    assert "at work" in told and " finished " in told and "evaluate" in told and "[" not in told


def test_status_needs_nothing_heavy() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from typer.testing import CliRunner; from flows.cli.main import app; "
        "r = CliRunner().invoke(app, ['status', '--store', '/nowhere', '--runs', '/nowhere']); "
        "assert r.exit_code == 0, r; "
        "print([m for m in ('torch', 'pyarrow', 'prefect', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_a_recipe_that_is_anothers_is_named(copy: Run) -> None:
    path = sorted(copy.store.root.glob("rollouts/*/recipe.json"))[0]
    path.write_bytes(sorted(copy.store.root.glob("select/*/recipe.json"))[0].read_bytes())
    found = audit.verify(copy.store, Progress()).findings
    assert [f.problem for f in found] == ["belongs to another recipe"] and replace(found[0], files=()).path == path
