"""``ssb verify`` on stores that real runs made: it names every kind of damage, and repairs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import ssb_core
from ssb_core.config import RunConfig
from ssb_core.progress import Progress
from ssb_core.runs import Run
from ssb_core.store import audit, work
from tests.support.cli import ssb
from tests.support.runs import copied, run_stages


@pytest.fixture
def copy(quick_run: Run, tmp_path: Path) -> Run:
    """A finished run in a store of its own."""
    return copied(quick_run, tmp_path)


class Notes(Progress):
    """The notes of a run."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


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


HEALED = [(f, list(DAMAGES)[n % 4]) for n, f in enumerate(FILES) if f != "a recipe"]  # which only people read


def cases() -> list[tuple[str, str]]:
    """Every damage to every kind of file that has an equal to be swapped with."""
    single = {"a manifest", "a recipe", "an adapter", "an adapter's configuration", "a training log"}
    return [(f, d) for f in FILES for d in DAMAGES if d != "swapped" or f not in single]


@pytest.mark.parametrize(("file", "damage"), cases())
def test_every_damage_to_every_kind_of_file_is_named(copy: Run, file: str, damage: str) -> None:
    path = sorted(copy.store.root.glob(FILES[file]))[0]
    DAMAGES[damage](path)
    code, output = ssb("verify", run=copy)
    if damage == "deleted" and file in (
        "a recipe",
        "a manifest",
    ):  # as if it was never made
        assert code == 0
        return
    shard = path.with_suffix(".parquet").name if path.parent.name == "shards" else path.name
    assert code == 1 and (path.name in output or shard in output), output
    assert output.splitlines()[-1].endswith("damaged or missing; --repair")


@pytest.mark.parametrize(("file", "damage"), HEALED)
def test_what_is_set_aside_is_alone_made_again(
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


def test_every_file_of_a_whole_store_is_read_and_counted(copy: Run) -> None:
    code, output = ssb("verify", run=copy)
    listed = audit.files_by_recipe(copy.store)
    manifests = sum(n.startswith("manifests/") for files in listed.values() for n in files)
    assert code == 0 and f"read {manifests} manifests, " in output.splitlines()[-1]
    assert output.splitlines()[-1].endswith("all whole")
    tables = sum(n.endswith(".parquet") for files in listed.values() for n in files)
    checked = audit.verify(copy.store, Progress())
    assert checked.files >= 2 * tables + manifests and checked.findings == [] and checked.leftovers == 0


def test_nothing_damaged_is_ever_trained_on(copy: Run, small: RunConfig, quick_run: Run) -> None:
    """Even without `ssb verify` before, because the stage that reads the shard notices."""
    manifest = copy.manifests("distill")[0]
    work.delete_request(copy.store, manifest)
    shards = sorted(copy.store.root.glob(FILES["a shard of teach"]))
    flip(next(p for p in shards if "signal" in pq.read_schema(p).names))
    progress = Notes()
    ssb_core.run(small, copy.store, copy.directory, progress=progress)
    assert "was damaged (its checksum differs)" in "".join(progress.notes)
    assert copy.manifests("distill")[0] == manifest == quick_run.manifests("distill")[0]


def test_a_recipe_file_of_another_recipe_is_named(copy: Run) -> None:
    path = sorted(copy.store.root.glob("rollouts/*/recipe.json"))[0]
    path.write_bytes(sorted(copy.store.root.glob("select/*/recipe.json"))[0].read_bytes())
    findings = audit.verify(copy.store, Progress()).findings
    assert [f.problem for f in findings] == ["belongs to another recipe"] and findings[0].path == path
