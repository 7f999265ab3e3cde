"""Atomic writes, and the temporary files that killed writers leave."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ssb_core.store import files, write_json


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(TypeError):
        write_json(path, {"a": object()})
    assert json.loads(path.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_folder_may_vanish_while_temporary_files_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / "store" / name).mkdir(parents=True)
        (tmp_path / "store" / name / "x.1.tmp").touch()
    monkeypatch.setattr(files, "_alive", lambda _: shutil.rmtree(tmp_path / "store"))
    files.delete_temporary(tmp_path / "store")
    assert list(tmp_path.iterdir()) == []
