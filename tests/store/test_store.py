"""The store in a directory: atomic commits, checks of shards and manifests, and damage that is set aside."""

from __future__ import annotations

import gc
import json
import os
import pickle
import resource
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from ssb_core.errors import Damaged, StoreError
from ssb_core.records import Rollout, Sample, Selection, Verdict, to_table
from ssb_core.store import FileEntry, Manifest, Recipe, Store, sha256_file, work
from ssb_core.store.local import Local
from tests.support.small_store import RECIPE, commit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "store")
    made.prepare(RECIPE)
    return made


def test_a_committed_shard_reads_back_with_its_sidecar(store: Store) -> None:
    manifest = commit(store)
    assert store.manifest(RECIPE, "print-a") == manifest
    assert [t.to_pylist() for t in store.tables(manifest)] == [[{"x": 1}, {"x": 2}]]
    shard = store.find_shard(RECIPE, "a", "up")
    assert shard and shard.problem_ids == ("p1", "p2") and shard.file.rows == 2


def test_equal_tables_make_equal_bytes(store: Store) -> None:
    first, second = commit(store, "a"), commit(store, "b")
    assert first.files[0].sha256 == second.files[0].sha256


ROLLOUTS = [
    Rollout(
        problem_id="p1",
        index=i,
        prompt_ids=(1, 2),
        completion_ids=(3, 4 + i),
        text=f"so {i}",
        finish_reason="stop",
        seed=5 + i,
    )
    for i in range(3)
]
SELECTION = Selection("p1", (Verdict("correct", "8", "8"), Verdict("no_answer")), 0, None, "all_correct")
SAMPLE = Sample(
    problem_id="p1",
    index=0,
    seed=7,
    prompt_hash="ab",
    completion_ids=(3, 4),
    text="so 8",
    finish_reason="stop",
    verdict=Verdict("incorrect", "8", "8"),
)


@pytest.mark.parametrize(
    ("record", "rows"), [(Rollout, ROLLOUTS), (Selection, [SELECTION]), (Sample, [SAMPLE]), (Rollout, [])]
)
def test_the_rows_of_a_shard_read_back_as_records(store: Store, record: type, rows: list[object]) -> None:
    table = to_table(rows, record).append_column("signal", pa.array([b"x"] * len(rows), pa.binary()))
    shard = store.write_shard(RECIPE, "a", table, ["p1"], None)
    manifest = store.commit(RECIPE, Manifest("rollouts", RECIPE.hash, "print-a", (shard.file,)))
    assert store.records(manifest, manifest.files[0], record) == rows


def test_a_damaged_shard_is_not_read_as_records(store: Store) -> None:
    shard = store.write_shard(RECIPE, "a", to_table([], Rollout), [], None)
    manifest = store.commit(RECIPE, Manifest("rollouts", RECIPE.hash, "print-a", (shard.file,)))
    flip(store.path(manifest, manifest.files[0]), 20)
    with pytest.raises(Damaged, match="its checksum differs"):
        store.records(manifest, manifest.files[0], Rollout)


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


def flip(path: Path, place: int) -> None:
    """Flip one bit of the byte at `place`."""
    raw = bytearray(path.read_bytes())
    raw[place] ^= 1
    path.write_bytes(raw)


def test_a_flipped_bit_is_noticed_when_read_and_the_shard_is_set_aside(store: Store) -> None:
    manifest = commit(store, values=tuple(range(1000)))
    path = store.path(manifest, manifest.files[0])
    flip(path, 200)
    with pytest.raises(StoreError, match="set aside"):
        list(store.tables(manifest))
    assert not path.exists() and path.with_name(path.name + ".damaged").exists()
    assert store.manifest(RECIPE, "print-a") is None


@contextmanager
def no_file_can_be_opened() -> Iterator[None]:
    """As many files are open as are allowed."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    gc.collect()  # otherwise files that earlier tests left open might be closed in between
    gc.disable()
    with open(os.devnull) as highest:
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        gc.enable()


def test_a_shard_is_not_damaged_if_too_many_files_are_open_to_read_it(store: Store) -> None:
    manifest = commit(store)
    reads = (
        lambda: list(store.tables(manifest)),
        lambda: store.find_shard(RECIPE, "a", "up"),
        lambda: store.manifest(RECIPE, "print-a"),
    )
    for read in reads:
        read()  # so that everything it imports is loaded
        with no_file_can_be_opened(), pytest.raises(OSError, match="Too many open files"):
            read()
    assert store.manifest(RECIPE, "print-a") == manifest and store.find_shard(RECIPE, "a", "up")
    assert not list(store.root.rglob("*.damaged"))


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


def test_the_one_writer_deletes_temporary_files_though_their_pids_are_alive(store: Store) -> None:
    shards = store.directory(RECIPE) / "shards"
    leftovers = [shards / "a.parquet.999999999.tmp", shards / f"b.parquet.{os.getppid()}.tmp"]
    leftovers.append(store.root / "format.json.999999999.tmp")
    for path in leftovers:
        path.touch()
    store.prepare(RECIPE)
    assert not any(path.exists() for path in leftovers)


@pytest.mark.parametrize("damage", ["empty", "bits flipped", "swapped", "another's sidecar"])
def test_a_damaged_shard_of_the_right_size_alone_is_set_aside(store: Store, damage: str) -> None:
    manifest, other = commit(store, "a", (1, 2)), commit(store, "b", (3, 4))
    table, other_table = store.path(manifest, manifest.files[0]), store.path(other, other.files[0])
    assert table.stat().st_size == other_table.stat().st_size
    match damage:
        case "empty":
            table.write_bytes(b"")
        case "bits flipped":
            raw = bytearray(table.read_bytes())
            raw[-20] ^= 4  # in the footer, which no page's checksum covers
            table.write_bytes(raw)
        case "swapped":
            table.write_bytes(other_table.read_bytes())
        case "another's sidecar":
            table.with_suffix(".json").write_bytes(other_table.with_suffix(".json").read_bytes())
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


def test_a_damaged_recipe_file_is_written_again(store: Store) -> None:
    path = store.directory(RECIPE) / "recipe.json"
    path.write_text("{")
    store.prepare(RECIPE)
    assert json.loads(path.read_text()) == RECIPE.content


def test_a_file_that_is_no_shard_is_checked_against_its_checksum(store: Store) -> None:
    path = store.directory(RECIPE) / "print" / "adapter.safetensors"
    path.parent.mkdir()
    path.write_bytes(b"weights")
    file = FileEntry("print/adapter.safetensors", 7, sha256_file(path))
    manifest = store.commit(RECIPE, Manifest("rollouts", RECIPE.hash, "print", (file,)))
    store.verify_outputs(manifest)
    path.write_bytes(b"weighty")
    with pytest.raises(Damaged, match=r"adapter\.safetensors was damaged"):
        store.verify_outputs(manifest)
    assert store.manifest(RECIPE, "print") is None


def test_a_store_of_another_format_is_refused_by_name(tmp_path: Path) -> None:
    store, recipe = Store(tmp_path), Recipe("rollouts", {"version": 1})
    (tmp_path / "format.json").write_text('{"format": 99}')
    with pytest.raises(StoreError, match="has format 99, this version of ssb reads format 1\n  remedy: "):
        store.exclusive(recipe).__enter__()


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The fingerprint of every manifest that is read from its file, in order."""
    fingerprints: list[str] = []
    read = Manifest.read

    def counted(path: Path) -> Manifest:
        fingerprints.append(path.stem)
        return read(path)

    monkeypatch.setattr(Manifest, "read", counted)
    return fingerprints


class TestLookingOnce:
    def test_a_manifest_is_checked_once_within_the_block(self, store: Store, reads: list[str]) -> None:
        manifest = commit(store)
        with store.looking_once():
            assert [store.manifest(RECIPE, "print-a") for _ in range(3)] == [manifest] * 3
            assert store.manifest_by_name("rollouts", RECIPE.hash, "print-a") == manifest
        assert reads == ["print-a"]

    def test_a_manifest_is_checked_every_time_outside_of_it(self, store: Store, reads: list[str]) -> None:
        manifest = commit(store)
        with store.looking_once(), store.looking_once():
            store.manifest(RECIPE, "print-a")
        assert [store.manifest(RECIPE, "print-a") for _ in range(3)] == [manifest] * 3
        assert len(reads) == 4

    def test_a_missing_manifest_is_looked_for_again(self, store: Store) -> None:
        with store.looking_once():
            assert store.manifest(RECIPE, "print-a") is None
            manifest = commit(Store(store.root))
            assert store.manifest(RECIPE, "print-a") == manifest

    def test_a_committed_manifest_is_checked_again(self, store: Store) -> None:
        manifest = commit(store)
        with store.looking_once():
            assert store.manifest(RECIPE, "print-a") == manifest
            changed = store.commit(RECIPE, replace(manifest, sources=("other",)))
            assert store.manifest(RECIPE, "print-a") == changed

    def test_a_deleted_request_is_noticed(self, store: Store) -> None:
        manifest = commit(store)
        with store.looking_once():
            assert store.manifest(RECIPE, "print-a") == manifest
            work.delete_request(store, manifest)
            assert store.manifest(RECIPE, "print-a") is None

    def test_a_shard_that_is_set_aside_is_noticed(self, store: Store) -> None:
        manifest, other = commit(store, "a"), commit(store, "b")
        with store.looking_once():
            assert store.manifest(RECIPE, "print-a") and store.manifest(RECIPE, "print-b")
            flip(store.path(manifest, manifest.files[0]), 20)
            with pytest.raises(Damaged):
                store.table(manifest, manifest.files[0])
            assert store.manifest(RECIPE, "print-a") is None
            assert store.manifest(RECIPE, "print-b") == other

    def test_a_shard_that_is_written_again_is_noticed(self, store: Store) -> None:
        manifest = commit(store, "a", (1, 2))
        with store.looking_once():
            assert store.manifest(RECIPE, "print-a") == manifest
            store.write_shard(RECIPE, "a", pa.table({"x": [3, 4]}), ["p1", "p2"], "up")
            assert store.manifest(RECIPE, "print-a") is None

    def test_a_manifest_that_another_process_writes_again_is_noticed(self, store: Store) -> None:
        manifest = commit(store)
        with store.looking_once():
            assert store.manifest(RECIPE, "print-a") == manifest
            changed = Store(store.root).commit(RECIPE, replace(manifest, sources=("other",)))
            assert store.manifest(RECIPE, "print-a") == changed

    def test_a_manifest_that_another_process_deletes_is_noticed(self, store: Store) -> None:
        manifest = commit(store)
        with store.looking_once():
            assert store.manifest(RECIPE, "print-a") == manifest
            work.delete_request(Store(store.root), manifest)
            assert store.manifest(RECIPE, "print-a") is None

    def test_a_store_that_is_pickled_within_the_block_remembers_nothing(self, store: Store) -> None:
        manifest = commit(store)
        with store.looking_once():
            assert store.manifest(RECIPE, "print-a") == manifest
            elsewhere: Store = pickle.loads(pickle.dumps(store))
        store.path(manifest, manifest.files[0]).unlink()
        assert elsewhere == store and elsewhere.manifest(RECIPE, "print-a") is None

    def test_files_are_deleted_before_their_manifests_are_forgotten(
        self, store: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        manifest = commit(store)
        remove = Local.delete

        def looked_up_before(local: Local, paths: Sequence[Path]) -> None:  # by another thread, as it were
            assert store.manifest(RECIPE, "print-a") == manifest
            remove(local, paths)

        monkeypatch.setattr(Local, "delete", looked_up_before)
        with store.looking_once():
            store.delete([store.path(manifest, f) for f in manifest.files])
            assert store.manifest(RECIPE, "print-a") is None

    def test_look_again_notices_a_shard_that_another_process_set_aside(self, store: Store) -> None:
        manifest = commit(store)
        with store.looking_once():
            assert store.manifest(RECIPE, "print-a") == manifest
            flip(store.path(manifest, manifest.files[0]), 20)
            with pytest.raises(Damaged):
                Store(store.root).table(manifest, manifest.files[0])
            assert store.manifest(RECIPE, "print-a") == manifest
            store.look_again()
            assert store.manifest(RECIPE, "print-a") is None
