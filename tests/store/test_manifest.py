"""Digests, and what manifests and sidecars look like on disk."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ssb_core.store import FileEntry, Manifest, Sidecar, Store, digest
from tests.support.small_store import RECIPE, commit


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.mark.parametrize("kind", ["shards", "manifests"])
def test_no_flipped_bit_of_a_sidecar_or_manifest_passes(store: Store, kind: str) -> None:
    manifest = commit(store)
    (path,) = (store.directory(RECIPE) / kind).glob("*.json")
    whole = path.read_bytes()
    believed = []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            content = (Sidecar if kind == "shards" else Manifest).read(path)
        except (ValueError, KeyError, TypeError):
            continue
        if content != (store.sidecar(manifest, manifest.files[0]) if kind == "shards" else manifest):
            believed.append(place)
    assert believed == []


def test_a_manifest_has_the_same_keys_on_disk_as_ever(store: Store) -> None:
    file = FileEntry("print/x.bin", 3, "ab" * 32)
    manifest = Manifest("distill", RECIPE.hash, "print", (file,), ("up",), {"traces": 2})
    content = {
        "stage": "distill",
        "recipe": RECIPE.hash,
        "fingerprint": "print",
        "entries": [{"path": "print/x.bin", "bytes": 3, "sha256": "ab" * 32, "rows": 0}],
        "sources": ["up"],
        "facts": {"traces": 2},
    }
    assert manifest.content() == content and manifest.key == digest(content)
    path = store.root / RECIPE.hash / "manifests" / "print.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(content | {"digest": digest(content)}))
    assert Manifest.read(path) == manifest


def test_a_sidecar_has_the_same_keys_on_disk_as_ever(store: Store) -> None:
    manifest = commit(store)
    content = json.loads((store.directory(RECIPE) / "shards" / "a.json").read_text())
    (file,) = manifest.files
    entry = {"path": "shards/a.parquet", "bytes": file.bytes, "sha256": file.sha256, "rows": 2}
    expected = {"entry": entry, "problem_ids": ["p1", "p2"], "source": "up"}
    assert content == expected | {"digest": digest(expected)}


def test_digest_ignores_key_order_and_refuses_what_is_not_stable() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 1.0})
    for unstable in (float("nan"), {1, 2}, object()):
        with pytest.raises(TypeError):
            digest({"a": unstable})
