"""The store: atomic commits, verification, damage set aside."""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pytest

from ssb_core.errors import Damaged, StoreError
from ssb_core.store import FileEntry, Manifest, Recipe, Sidecar, Store, digest, files, sha256_file, work, write_json

RECIPE = Recipe("rollouts", {"version": 1, "k": 4})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.prepare(RECIPE)
    return made


def commit(store: Store, name: str = "a", values: tuple[int, ...] = (1, 2)) -> Manifest:
    shard = store.write_shard(RECIPE, name, pa.table({"x": list(values)}), ["p1", "p2"], "up")
    return store.commit(RECIPE, Manifest("rollouts", RECIPE.hash, f"print-{name}", (shard.file,)))


def test_a_committed_shard_reads_back_with_its_sidecar(store: Store) -> None:
    manifest = commit(store)
    assert store.manifest(RECIPE, "print-a") == manifest
    assert [t.to_pylist() for t in store.tables(manifest)] == [[{"x": 1}, {"x": 2}]]
    shard = store.find_shard(RECIPE, "a", "up")
    assert shard and shard.problem_ids == ("p1", "p2") and shard.file.rows == 2


def test_equal_tables_make_equal_bytes(store: Store) -> None:
    first, second = commit(store, "a"), commit(store, "b")
    assert first.files[0].sha256 == second.files[0].sha256


def test_a_shard_made_from_other_upstream_bytes_is_not_reused(store: Store) -> None:
    commit(store)
    assert store.find_shard(RECIPE, "a", "other") is None
    assert store.find_shard(RECIPE, "a", "up") is not None


@pytest.mark.parametrize("damage", ["truncated", "deleted", "no sidecar", "broken sidecar"])
def test_a_damaged_shard_is_not_believed(store: Store, damage: str) -> None:
    manifest = commit(store)
    table = store.path(manifest, manifest.files[0])
    sidecar = table.with_suffix(".json")
    match damage:
        case "truncated":
            table.write_bytes(table.read_bytes()[:-1])
        case "deleted":
            table.unlink()
        case "no sidecar":
            sidecar.unlink()
        case "broken sidecar":
            sidecar.write_text("{")
    assert store.manifest(RECIPE, "print-a") is None
    assert store.find_shard(RECIPE, "a", "up") is None


def test_a_flipped_bit_is_noticed_when_read_and_set_aside(store: Store) -> None:
    manifest = commit(store, values=tuple(range(1000)))
    path = store.path(manifest, manifest.files[0])
    raw = bytearray(path.read_bytes())
    raw[200] ^= 1
    path.write_bytes(raw)
    with pytest.raises(StoreError, match="set aside"):
        list(store.tables(manifest))
    assert not path.exists() and path.with_name(path.name + ".damaged").exists()
    assert store.manifest(RECIPE, "print-a") is None


@contextmanager
def no_file_can_be_opened() -> Iterator[None]:
    """As many files are open as may be."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # or files that earlier tests forgot might be closed in between
    gc.disable()
    with open(os.devnull) as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        gc.enable()


def test_what_cannot_be_opened_for_want_of_files_is_not_taken_for_damaged(store: Store) -> None:
    manifest = commit(store)
    looks = (
        lambda: list(store.tables(manifest)),
        lambda: store.find_shard(RECIPE, "a", "up"),
        lambda: store.manifest(RECIPE, "print-a"),
    )
    for look in looks:
        look()  # what it imports is there by then
        with no_file_can_be_opened(), pytest.raises(OSError, match="Too many open files"):
            look()
    assert store.manifest(RECIPE, "print-a") == manifest and store.find_shard(RECIPE, "a", "up")
    assert not list(store.root.rglob("*.damaged"))


def test_sweeping_bears_that_another_process_deletes_a_folder_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / "store" / name / "x.1.tmp").touch()
    monkeypatch.setattr(files, "_alive", lambda _: shutil.rmtree(tmp_path / "store"))
    files.delete_temporary(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_note_of_seconds_counts_as_none(store: Store) -> None:
    work.add_seconds(store, RECIPE, "print-a", 2.0)
    next(store.root.rglob("seconds/*.json")).write_text("{")
    work.add_seconds(store, RECIPE, "print-a", 3.0)
    assert work.read_seconds(store, RECIPE, "print-a") == 3.0


def test_a_broken_manifest_counts_as_missing_and_is_not_touched(store: Store) -> None:
    commit(store)
    path = store.directory(RECIPE) / "manifests" / "print-a.json"
    path.write_text("not json")
    assert store.manifest(RECIPE, "print-a") is None
    assert path.read_text() == "not json"


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_the_one_writer_sweeps_what_dead_ones_left_though_their_pids_live_again(store: Store) -> None:
    shards = store.directory(RECIPE) / "shards"
    left = [shards / "a.parquet.999999999.tmp", shards / f"b.parquet.{os.getppid()}.tmp"]
    left.append(store.root / "format.json.999999999.tmp")
    for path in left:
        path.touch()
    store.prepare(RECIPE)
    assert not any(path.exists() for path in left)


@pytest.mark.parametrize("damage", ["empty", "bits flipped", "swapped", "another's sidecar"])
def test_a_damaged_shard_of_the_right_size_is_noticed_when_read_set_aside_and_made_again_alone(
    store: Store, damage: str
) -> None:
    manifest, other = commit(store, "a", (1, 2)), commit(store, "b", (3, 4))
    table, its = store.path(manifest, manifest.files[0]), store.path(other, other.files[0])
    sidecar, its_sidecar = table.with_suffix(".json"), its.with_suffix(".json")
    assert table.stat().st_size == its.stat().st_size
    raw = bytearray(table.read_bytes())
    match damage:
        case "empty":
            table.write_bytes(b"")
        case "bits flipped":
            raw[-20] ^= 4  # of the footer, of which no page's checksum says anything
            table.write_bytes(raw)
        case "swapped":
            table.write_bytes(its.read_bytes())
        case "another's sidecar":
            sidecar.write_bytes(its_sidecar.read_bytes())
    noticed = store.find_shard(RECIPE, "a", "up") is None
    if not noticed:
        with pytest.raises(Damaged, match=r"shards/a.parquet was damaged \(its checksum differs\)"):
            store.table(manifest, manifest.files[0], ["x"])
    assert table.with_name("a.parquet.damaged").exists() and not table.exists()
    assert store.manifest(RECIPE, "print-a") is None
    assert store.find_shard(RECIPE, "b", "up") and store.table(other, other.files[0]).num_rows == 2


def test_a_manifest_under_anothers_name_is_not_believed(store: Store) -> None:
    commit(store, "a"), commit(store, "b")
    folder = store.directory(RECIPE) / "manifests"
    (folder / "print-a.json").write_bytes((folder / "print-b.json").read_bytes())
    assert store.manifest(RECIPE, "print-a") is None and store.manifest(RECIPE, "print-b")


@pytest.mark.parametrize("kind", ["shards", "manifests"])
def test_no_flipped_bit_of_a_sidecar_or_manifest_passes(store: Store, kind: str) -> None:
    manifest = commit(store)
    (path,) = (store.directory(RECIPE) / kind).glob("*.json")
    whole = path.read_bytes()
    believed = []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            found = (Sidecar if kind == "shards" else Manifest).read(path)
        except (ValueError, KeyError, TypeError):
            continue
        if found != (store.sidecar(manifest, manifest.files[0]) if kind == "shards" else manifest):
            believed.append(place)
    assert believed == []


def test_a_damaged_recipe_note_is_written_anew(store: Store) -> None:
    note = store.directory(RECIPE) / "recipe.json"
    note.write_text("{")
    store.prepare(RECIPE)
    assert json.loads(note.read_text()) == RECIPE.content


def test_a_file_of_a_directory_is_read_against_its_checksum(store: Store) -> None:
    path = store.directory(RECIPE) / "print" / "adapter.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    entry = FileEntry("print/adapter.safetensors", 7, sha256_file(path))
    manifest = store.commit(RECIPE, Manifest("rollouts", RECIPE.hash, "print", (entry,)))
    store.verify_outputs(manifest)
    path.write_bytes(b"weighty")
    with pytest.raises(Damaged, match=r"adapter\.safetensors was damaged"):
        store.verify_outputs(manifest)
    assert store.manifest(RECIPE, "print") is None


def test_digest_ignores_key_order_and_refuses_what_is_not_stable() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.0})
    for unstable in (float("nan"), {1, 2}, object()):
        with pytest.raises(TypeError):
            digest({"a": unstable})
