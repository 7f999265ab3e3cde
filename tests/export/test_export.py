"""Exports: targets are checked first, and a directory that exists is complete."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core.config import RunConfig
from ssb_core.errors import ConfigError
from ssb_core.export import Kind, cards, export
from ssb_core.report.verdict import verdict_in_words
from ssb_core.runs import Run
from tests.support.cards import card
from tests.support.processes import run_ssb
from tests.support.runs import copied, run_stages


@pytest.mark.parametrize(
    ("targets", "options", "said"),
    [
        ({}, {}, "say what to export: --adapter DIR"),
        ({"adapter": "a"}, {"signal": True}, "--signal adds the teacher's signal to a data set"),
        ({"adapter": "full"}, {}, "full is not empty"),
        ({"adapter": "full"}, {"overwrite": True}, "is not one (it has no ssb_export.json)"),
        ({"dataset": "file"}, {}, "file is a file; give a directory"),
        ({"adapter": "/"}, {}, "/ is a mount point, and nothing can be renamed to it\n  remedy: give a"),
        ({"adapter": "inside/.."}, {}, "is, or holds, the directory you are in"),
        ({"merged": "inside"}, {"overwrite": True}, "inside it, e.g. {here}/inside/merged"),
        ({"adapter": "a", "merged": "a"}, {}, "share a directory"),
        ({"adapter": "a", "merged": "a/b"}, {}, "share a directory"),
        ({"adapter": "a", "dataset": "x/../a"}, {}, "share a directory"),
    ],
)
def test_unusable_targets_are_refused_before_anything_is_written(
    targets: dict[Kind, str],
    options: dict[str, bool],
    said: str,
    quick_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").touch()
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as refused:
        export(quick_run, {kind: tmp_path / path for kind, path in targets.items()}, **options)
    assert said.format(here=tmp_path) in str(refused.value)
    assert {p.name for p in tmp_path.rglob("*")} == {"inside", "full", "thesis.txt", "file"}


def test_a_failed_export_leaves_nothing_and_a_killed_one_is_deleted(
    quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".d.partial" / "data").mkdir(parents=True)  # as a kill leaves it
    with monkeypatch.context() as broken:
        broken.setattr(cards, "render", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            export(quick_run, {"dataset": tmp_path / "d"})
    assert list(tmp_path.iterdir()) == []
    export(quick_run, {"dataset": tmp_path / "d"})
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


def test_overwriting_replaces_an_export_with_the_same_bytes(quick_run: Run, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()  # an empty directory is as good as none
    export(quick_run, {"dataset": tmp_path / "d"})
    first = {p.name: p.read_bytes() for p in (tmp_path / "d").rglob("*.*")}
    (tmp_path / "d" / "stray.txt").touch()
    export(quick_run, {"dataset": tmp_path / "d"}, overwrite=True)
    assert {p.name: p.read_bytes() for p in (tmp_path / "d").rglob("*.*")} == first
    assert [p.name for p in tmp_path.iterdir()] == ["d"]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_export_that_cannot_be_renamed_leaves_the_earlier_one(
    error: type[BaseException], quick_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export(quick_run, {"dataset": tmp_path / "d"})
    first = {p: p.read_bytes() for p in tmp_path.rglob("*.*")}
    rename = Path.rename

    def breaking(path: Path, target: Path) -> Path:
        if path.name == ".d.partial":
            raise error
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", breaking)
    with pytest.raises(error):
        export(quick_run, {"dataset": tmp_path / "d"}, overwrite=True)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*.*")} == first


def test_a_run_that_stopped_early_exports_what_it_has(quick_run: Run, small: RunConfig, tmp_path: Path) -> None:
    store = copied(quick_run, tmp_path).store
    taught = run_stages(small, store, tmp_path / "runs" / "taught", "teach")
    for kind in ("adapter", "merged"):
        with pytest.raises(
            ConfigError, match="run taught has no student: it ended after teach\n  remedy: finish it with"
        ):
            export(taught, {kind: tmp_path / "out"})
    (made,) = export(taught, {"dataset": tmp_path / "traces"})
    assert made.rows == 24 and "No student was trained on them" in card(tmp_path / "traces")[1]
    selected = run_stages(small, store, tmp_path / "runs" / "selected", "select")
    with pytest.raises(ConfigError, match="run selected taught no traces: it ended after select"):
        export(selected, {"dataset": tmp_path / "out"})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("dtype: float32", "dtype: bfloat16", "nano is no longer what run quick used"),
        ("source: nano-train", "source: nano-hard", "nano-hard is no longer what run quick read"),
    ],
)
def test_a_model_or_problems_that_changed_since_are_refused(
    field: str, value: str, said: str, quick_run: Run, tmp_path: Path
) -> None:
    run = copied(quick_run, tmp_path)
    config = run.directory / "config.yaml"
    config.write_text(config.read_text().replace(field, value))
    with pytest.raises(ConfigError, match=said):
        export(run, {"adapter": tmp_path / "a", "dataset": tmp_path / "d"})
    assert not list(tmp_path.glob(".*")) and not (tmp_path / "a").exists()  # not even what could be
    if "nano-hard" in value:  # the student is what it was; the card says what it cannot know
        export(run, {"adapter": tmp_path / "a"})
        assert "not available when this was exported" in card(tmp_path / "a")[1]


def test_the_command_exports_and_refuses_to_overwrite(quick_run: Run, alone: dict[str, str], tmp_path: Path) -> None:
    places = ["--store", str(quick_run.store.root), "--runs", str(quick_run.directory.parent)]
    command = ["export", "latest", "--adapter", "out/a", "--merged", "out/m", "--dataset", "out/d", *places]
    done = run_ssb(*command, env=alone, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert [line.split()[0] for line in lines if not line.startswith(" ")] == [
        *("adapter", "merged", "dataset", "results", "next", "publish")
    ]
    assert "out/d: 24 rows, 3 files" in done.stdout
    assert verdict_in_words(quick_run.load_summary()) in " ".join(done.stdout.split())
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["a", "d", "m"]
    again = run_ssb(*command, env=alone, cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "error: --adapter out/a is not empty\n  remedy: give another directory, or add --overwrite\n"


def test_help_has_an_example(alone: dict[str, str], tmp_path: Path) -> None:
    done = run_ssb("export", "--help", env=alone, cwd=tmp_path)
    assert done.returncode == 0 and "ssb export latest --adapter out/adapter" in done.stdout
