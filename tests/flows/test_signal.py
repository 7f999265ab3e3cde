"""`ssb signal`: every figure as JSON, a picture of them that fits 100 columns, and refusals."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli import console
from flows.cli import signal as signal_command
from ssb_core.progress import Progress
from ssb_core.results import hint_effect
from ssb_core.results.hint_effect import TokenInContext
from ssb_core.runs import Run
from ssb_core.signal.marks import Shift, TokenEffect
from tests.support.processes import run_ssb


def test_all_figures_as_json_and_nothing_is_written(quick_run: Run, alone: dict[str, str], tmp_path: Path) -> None:
    def files() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in quick_run.directory.parents[1].rglob("*") if p.is_file()}

    before = files()
    places = ["--store", str(quick_run.store.root), "--runs", str(quick_run.directory.parent)]
    done = run_ssb("signal", quick_run.name, "--json", "--traces", "3", "--top", "2", *places, env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["run"] == "quick"
    assert (
        figures["storage"]["tokens"] == quick_run.load_summary()["signal"]["tokens"] and figures["storage"]["ratio"] > 1
    )
    assert figures["certificates"]["max_kl_error"] == quick_run.load_summary()["signal"]["max_kl_error"]
    assert (figures["survey"]["traces"], len(figures["survey"]["moments"])) == (3, 2)
    assert "survey: 3/3 traces" in done.stderr
    assert files() == before and list(tmp_path.iterdir()) == []


def test_what_is_shown_fits_100_columns(quick_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = Console(width=100, file=io.StringIO(), markup=False, highlight=False)
    monkeypatch.setattr(console, "console", narrow)
    found = hint_effect.measure(quick_run, 8, 3, Progress())
    hostile = Shift("\x1b[2J\n" + "x" * 50, 0.1234, 0.995)
    long = TokenInContext(
        "a-very-long-problem-id-0001", 9, "日本語 and \x1b[31m\u202eso on\n", TokenEffect("\r", 1.5, hostile, hostile)
    )
    monkeypatch.setattr(
        hint_effect, "measure", lambda *a: found.__class__(8, 24, 99, 0.25, found.at, (*found.moments, long))
    )
    signal_command.print_signal(quick_run, 8, 3, as_json=False)
    shown = narrow.file.getvalue()  # type: ignore[attr-defined]
    lines = shown.splitlines()
    assert max(map(len, lines)) <= 100
    assert "\x1b" not in shown and "\u202e" not in shown and "\r" not in shown
    head = [line for line in lines if "raised  " in line]
    assert [word for line in head for word in line.split()] == ["KL", "problem", "after", "token", "raised", "lowered"]
    (row,) = (line for line in lines if "1.50" in line)
    assert "a-very-long-prob…" in row and "'\\r'" in row and "12→100% '\\x1b[2…" in row and "so on\\n" in row
    for m in found.moments:
        assert any(f"{m.mark.kl:.2f}" in line and m.problem_id in line and repr(m.mark.text) in line for line in lines)
    words = " ".join(shown.split())
    assert "99 tokens of 8 of 24 traces (a seeded draw; --traces 0 takes all)" in words
    assert "512 bytes a token" in words and "25.00% of the tokens are above 1 nat at T = 1" in words
    kl = found.at[0].kl
    assert (
        f"KL(teacher || bare student) 1 {kl.mean:.3g} {kl.median:.3g} {kl.p90:.3g} {kl.p99:.3g} {kl.max:.3g}" in words
    )


def test_of_top_k_signal_kl_is_called_what_it_is(quick_run: Run) -> None:
    found = hint_effect.measure(quick_run, 1, 0, Progress())
    for codec, told in (("topk/2", True), ("hidden/2", False), ("dense/2", False)):
        shown = signal_command.effect(found, codec)
        assert any("lower bound" in part for part in shown if isinstance(part, str)) is told


def test_a_run_that_is_not_there_is_refused(alone: dict[str, str], tmp_path: Path) -> None:
    done = run_ssb("signal", "nope", env=alone, cwd=tmp_path)
    assert done.returncode == 2 and "there is no finished run 'nope'" in done.stderr
