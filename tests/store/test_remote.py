"""The store at a URL, on a real S3 server (moto) on loopback. Each machine is a cache of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fsspec.config
import pytest

from ssb_core.config import RunConfig
from ssb_core.errors import Damaged, StoreError, Unreachable
from ssb_core.runs import Run
from ssb_core.store import FileEntry, Manifest, Store, remote_lock, sha256_file
from ssb_core.store import work as unfinished
from ssb_core.store.remote import Remote
from ssb_core.store.remote_files import FileSystem
from tests.support.processes import ROOT
from tests.support.runs import run_stages
from tests.support.s3_server import S3, s3_server
from tests.support.served import until
from tests.support.small_store import RECIPE, commit, write_shard

HOLD = """
import sys
from ssb_core.store import Recipe, Store
with Store.at(sys.argv[1]).exclusive(Recipe("rollouts", {"version": 1, "k": 4}), print):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    with s3_server(tmp_path_factory.mktemp("s3")) as found:
        yield found


@pytest.fixture
def s3(server: S3, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> S3:
    for name, value in server.env.items():
        monkeypatch.setenv(name, value)
    server.fail(0)
    return server


def machine(name: str, s3: S3, tmp_path: Path) -> Store:
    """The test's store as a machine with a cache of its own sees it."""
    made = Remote(f"{s3.url}/{tmp_path.name}", tmp_path / name)
    return Store(made.cache, made)


@pytest.fixture
def here(s3: S3, tmp_path: Path) -> Store:
    return machine("here", s3, tmp_path)


@pytest.fixture
def there(s3: S3, tmp_path: Path) -> Store:
    return machine("there", s3, tmp_path)


def test_what_one_machine_commits_another_finds_and_downloads_when_it_reads(here: Store, there: Store) -> None:
    manifest = commit(here)
    assert there.manifest(RECIPE, "print-a") == manifest
    assert not list(there.root.rglob("*.parquet"))
    assert [t.to_pylist() for t in there.tables(manifest)] == [[{"x": 1}, {"x": 2}]]
    there.prepare(RECIPE)
    shard = there.find_shard(RECIPE, "a", "up")
    assert shard and shard.file == manifest.files[0]
    assert list(there.recipes("rollouts")) == [RECIPE.content]


def test_a_shard_without_its_manifest_is_no_result_but_is_reused(here: Store, there: Store) -> None:
    here.prepare(RECIPE)
    write_shard(here)
    there.prepare(RECIPE)
    assert there.manifest(RECIPE, "print-a") is None and there.find_shard(RECIPE, "a", "up")


def test_a_failed_upload_is_made_up_for_without_making_the_shard_again(
    here: Store, there: Store, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    here.prepare(RECIPE)
    monkeypatch.setattr(Remote, "upload", lambda *_: (_ for _ in ()).throw(Unreachable("gone")))
    with pytest.raises(Unreachable):
        write_shard(here)
    monkeypatch.undo()
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    there.prepare(RECIPE)
    assert there.find_shard(RECIPE, "a", "up") is None
    assert here.find_shard(RECIPE, "a", "up")
    assert there.find_shard(RECIPE, "a", "up") is None  # listed before
    there.remote._fresh_until.clear()  # type: ignore[union-attr]
    there.prepare(RECIPE)
    assert there.find_shard(RECIPE, "a", "up")


def test_a_deleted_request_does_not_come_back_from_another_machines_cache(here: Store, there: Store) -> None:
    manifest = commit(here)
    list(there.tables(there.manifest(RECIPE, "print-a")))  # type: ignore[arg-type]
    unfinished.delete_request(here, manifest)
    there.remote._fresh_until.clear()  # type: ignore[union-attr]
    there.prepare(RECIPE)
    assert there.manifest(RECIPE, "print-a") is None and there.find_shard(RECIPE, "a", "up") is None


def test_a_request_deleted_elsewhere_is_made_again_though_its_manifest_was_known(here: Store, there: Store) -> None:
    manifest = commit(here)
    known = there.manifest(RECIPE, "print-a")
    assert known == manifest
    unfinished.delete_request(here, manifest)
    there.remote._fresh_until.clear()  # type: ignore[union-attr]  which was filled just now
    assert there.manifest(RECIPE, "print-a") is None
    assert not list(there.root.rglob("print-a.json"))
    assert commit(there) == manifest
    here.remote._fresh_until.clear()  # type: ignore[union-attr]
    assert here.manifest(RECIPE, "print-a") == manifest and here.table(manifest, manifest.files[0]).num_rows == 2


def test_a_shard_deleted_elsewhere_is_damage_and_is_made_again(here: Store, there: Store) -> None:
    manifest = commit(here)
    assert there.manifest(RECIPE, "print-a") == manifest
    unfinished.delete_request(here, manifest)
    with pytest.raises(Damaged):
        there.table(manifest, manifest.files[0])
    assert there.manifest(RECIPE, "print-a") is None
    assert commit(there) == manifest


def test_a_shard_made_again_the_moment_another_machine_misses_it_stays(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = commit(here)
    assert there.manifest(RECIPE, "print-a") == manifest and there.remote
    unfinished.delete_request(here, manifest)
    download = there.remote.files.download

    def miss(name: str, path: Path) -> None:
        try:
            download(name, path)
        finally:
            commit(here)

    monkeypatch.setattr(there.remote.files, "download", miss)
    with pytest.raises(Damaged, match=r"a\.parquet is gone at s3://"):
        there.table(manifest, manifest.files[0])
    assert here.manifest(RECIPE, "print-a") == manifest
    assert not [name for name in there.remote.list_files() if name.endswith(".damaged")]


@pytest.mark.parametrize("fault", ["refused", "lost"])
def test_a_manifest_is_no_result_until_its_upload_succeeds(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    hasty = {"retries": {"max_attempts": 1, "mode": "standard"}, "read_timeout": 5}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": hasty})
    here, there, third = (machine(name, s3, tmp_path) for name in ("here", "there", "third"))
    here.remote.files.fs.retries = 1  # type: ignore[union-attr]  otherwise it waits for seconds
    here.prepare(RECIPE)
    manifest = write_shard(here)
    s3.fail(1, fault)
    with pytest.raises(Unreachable, match="the same command continues from there"):
        here.commit(RECIPE, manifest)
    s3.fail(0)
    assert here.manifest(RECIPE, "print-a") is None
    assert there.manifest(RECIPE, "print-a") == (manifest if fault == "lost" else None)
    here.prepare(RECIPE)
    shard = here.find_shard(RECIPE, "a", "up")
    assert shard and shard.file == manifest.files[0], "it is not made again"
    assert here.commit(RECIPE, manifest) == here.manifest(RECIPE, "print-a") == manifest
    assert third.manifest(RECIPE, "print-a") == manifest


@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted"])
def test_a_shard_damaged_at_the_url_is_noticed_and_alone_made_again(here: Store, there: Store, damage: str) -> None:
    manifest, other = commit(here), commit(here, "b", (3, 4))
    assert here.remote
    files, name = here.remote.files, f"rollouts/{RECIPE.hash}/shards/a.parquet"
    raw = bytearray(files.read(name) or b"")
    raw[len(raw) // 2] ^= 1
    match damage:
        case "truncated":
            files.write(name, bytes(raw[:-1]))
        case "flipped":
            files.write(name, bytes(raw))
        case "deleted":
            files.delete(name)
    if damage == "flipped":  # only reading it shows that
        with pytest.raises(Damaged, match=r"a\.parquet was damaged \(its checksum differs\)"):
            list(there.tables(there.manifest(RECIPE, "print-a")))  # type: ignore[arg-type]
    assert there.manifest(RECIPE, "print-a") is None
    there.prepare(RECIPE)
    assert there.find_shard(RECIPE, "a", "up") is None and there.find_shard(RECIPE, "b", "up")
    assert commit(there) == manifest
    third = there.manifest(RECIPE, "print-b")
    assert third == other


def test_a_damaged_copy_in_the_cache_is_dropped_and_downloaded_again(here: Store, there: Store) -> None:
    manifest = commit(here)
    path = there.path(manifest, manifest.files[0])
    raw = bytearray(path.read_bytes())
    raw[-20] ^= 1
    path.write_bytes(raw)
    with pytest.raises(Damaged):
        there.table(manifest, manifest.files[0])
    assert there.manifest(RECIPE, "print-a") == manifest
    assert there.table(manifest, manifest.files[0]).num_rows == 2


def test_files_that_are_no_shards_are_uploaded_before_their_manifest(here: Store, there: Store) -> None:
    here.prepare(RECIPE)
    directory = here.directory(RECIPE) / "print" / "adapter"
    directory.mkdir(parents=True)
    (directory / "w.safetensors").write_bytes(b"weights")
    (directory.parent / "speed.json").write_text("{}")
    entry = FileEntry("print/adapter/w.safetensors", 7, sha256_file(directory / "w.safetensors"))
    manifest = here.commit(RECIPE, Manifest("rollouts", RECIPE.hash, "print", (entry,)))
    there.verify_outputs(manifest)
    assert (there.directory(RECIPE) / "print" / "adapter" / "w.safetensors").read_bytes() == b"weights"
    assert there.unlisted_file(RECIPE, "print/speed.json").read_text() == "{}"


def test_another_machine_goes_on_with_unfinished_work_and_deletes_it_at_the_end(here: Store, there: Store) -> None:
    here.prepare(RECIPE)
    for n in (1, 2):
        checkpoint = unfinished.work_dir(here, RECIPE, "print", "v") / f"checkpoint-{n}"
        checkpoint.mkdir()
        (checkpoint / "state").write_text(str(n))
        here.backend.upload_part(checkpoint)
    (here.directory(RECIPE) / "print.v.work" / "checkpoint-1" / "state").unlink()
    here.backend.upload_part(checkpoint)
    there.prepare(RECIPE)
    work = unfinished.work_dir(there, RECIPE, "print", "v")
    assert [str(p.relative_to(work)) for p in work.rglob("state")] == ["checkpoint-2/state"]
    unfinished.delete_work(there, Manifest("rollouts", RECIPE.hash, "print", ()))
    assert not there.remote.files.list_files(f"rollouts/{RECIPE.hash}/print.v.work")  # type: ignore[union-attr]


def test_a_machine_takes_over_the_lease_of_a_dead_one_after_a_while(
    s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_lock, "PATIENCE", 2.0)
    monkeypatch.setattr(remote_lock, "MARGIN", 0.0)
    store, messages = machine("there", s3, tmp_path), []
    env = os.environ | {"SSB_CACHE": str(tmp_path / "other")}
    command = [sys.executable, "-c", HOLD, store.remote.url]  # type: ignore[union-attr]
    first = subprocess.Popen(command, cwd=ROOT, env=env, stdin=-1, stdout=-1, text=True)
    assert first.stdout and first.stdout.readline() == "held\n"
    first.kill()
    first.wait()
    with store.exclusive(RECIPE, messages.append):
        pass
    assert len(messages) == 1 and f"waiting for process {first.pid}" in messages[0]
    again: list[str] = []
    with store.exclusive(RECIPE, again.append):  # because the lease was given back
        pass
    assert again == []


def test_a_writer_whose_lease_was_taken_over_uploads_nothing_more(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_lock, "PATIENCE", 0.5)
    monkeypatch.setattr(remote_lock, "MARGIN", -60.0)  # it notices with its next sign of life
    monkeypatch.setattr("ssb_core.store.lock.BEAT", 3.0)
    with here.exclusive(RECIPE, lambda _: None):
        here.prepare(RECIPE)
        with there.exclusive(RECIPE, lambda _: None):
            until(lambda: bool(here.remote.leases.lost), 60)  # type: ignore[union-attr]  with its next sign of life
            with pytest.raises(StoreError, match="was taken over by another process"):
                write_shard(here)


def test_a_check_leaves_nothing_at_the_url_and_a_read_only_one_writes_nothing(
    here: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert here.remote
    here.check()
    assert here.remote.list_files() == {}
    monkeypatch.setattr(FileSystem, "create", lambda *_: pytest.fail("it writes"))
    here.check(write=False)


def test_only_one_of_several_creates_a_lease(here: Store) -> None:
    assert here.remote
    create = here.remote.files.create
    assert [create("x/y/writer.lock.1", str(n).encode()) for n in range(3)] == [True, False, False]


def test_two_machines_and_failing_requests_give_the_results_of_one_directory(
    small: RunConfig, quick_run: Run, s3: S3, tmp_path: Path
) -> None:
    s3.fail(0.05)
    first, second = (machine(name, s3, tmp_path) for name in ("here", "there"))
    with ThreadPoolExecutor() as both:
        runs = [both.submit(run_stages, small, store, store.root / "run") for store in (first, second)]
    s3.fail(0)
    made = [{r.label: r.made for r in run.result().load_stages()} for run in runs]
    shards = {r.label: r.made for r in quick_run.load_stages()}
    assert {label: sum(one[label] for one in made) for label in shards} == shards
    assert [run.result().load_summary()["benchmarks"] for run in runs] == [quick_run.load_summary()["benchmarks"]] * 2

    def manifests(root: Path) -> dict[str, bytes]:
        return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("manifests/*.json")}

    assert manifests(second.root) == manifests(quick_run.store.root)
    assert second.remote
    left = [p for p in second.remote.files.list_files("") if p.endswith((".tmp", ".damaged")) or ".work/" in p]
    assert left == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nowhere://x/y", "the store nowhere://x/y cannot be opened"),
        ("s3://no-such-bucket/x", "cannot be written to: The specified bucket does not exist"),
    ],
)
def test_a_store_that_cannot_be_used_is_one_clear_error(s3: S3, url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message):
        Store.at(url).check()
