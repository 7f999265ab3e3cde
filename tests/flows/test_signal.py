"""``ssb signal``: figures as JSON, tables that fit 100 columns, and refusals."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from flows.cli import signal as command
from ssb_core.progress import Progress
from ssb_core.results import hint_effect
from ssb_core.results.hint_effect import HintEffectStats, TokenInContext
from ssb_core.runs import Run
from ssb_core.signal.marks import Shift, TokenEffect
from tests.support.processes import run_ssb

HOSTILE = Shift("\x1b[2J\n" + "x" * 50, 0.1234, 0.995)
LONG = TokenInContext(
    "a-very-long-problem-id-0001", 9, "日本語 and \x1b[31m\u202eso on\n", TokenEffect("\r", 1.5, HOSTILE, HOSTILE)
)


@pytest.fixture(scope="module")
def stats(quick_run: Run) -> HintEffectStats:
    return hint_effect.measure(quick_run, 8, 3, Progress())


@pytest.fixture
def printed(
    quick_run: Run, stats: HintEffectStats, terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The lines of a run with round numbers, and with a token that does not fit and would control the terminal."""
    changed = replace(stats, traces=8, of=24, tokens=99, large=0.25, moments=(*stats.moments, LONG))
    monkeypatch.setattr(hint_effect, "measure", lambda *_: changed)
    command.print_signal(quick_run, 8, 3, as_json=False)
    return terminal.getvalue().split("\n")


def test_json_has_all_figures_and_nothing_is_written(quick_run: Run, alone: dict[str, str], tmp_path: Path) -> None:
    def files() -> dict[Path, int]:
        return {p: p.stat().st_mtime_ns for p in quick_run.directory.parents[1].rglob("*") if p.is_file()}

    before, expected = files(), quick_run.load_summary()["signal"]
    places = ["--store", str(quick_run.store.root), "--runs", str(quick_run.directory.parent)]
    done = run_ssb("signal", quick_run.name, "--json", "--traces", "3", "--top", "2", *places, env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert figures["run"] == "quick"
    assert figures["storage"]["tokens"] == expected["tokens"] and figures["storage"]["ratio"] > 1
    assert figures["certificates"]["max_kl_error"] == expected["max_kl_error"]
    assert (figures["survey"]["traces"], len(figures["survey"]["moments"])) == (3, 2)
    assert "hint effect: 3/3 traces" in done.stderr
    assert files() == before and list(tmp_path.iterdir()) == []


def test_the_output_fits_100_columns(printed: list[str]) -> None:
    assert max(map(len, printed)) <= 100


def test_the_output_has_sizes_shares_and_the_distribution_of_kl(printed: list[str], stats: HintEffectStats) -> None:
    words, kl = " ".join(" ".join(printed).split()), stats.at[0].kl
    assert "99 tokens of 8 of 24 traces (a seeded draw; --traces 0 takes all)" in words
    assert "512 bytes a token" in words and "25.00% of the tokens are above 1 nat at T = 1" in words
    row = f"KL(teacher || bare student) 1 {kl.mean:.3g} {kl.median:.3g} {kl.p90:.3g} {kl.p99:.3g} {kl.max:.3g}"
    assert row in words


def test_the_output_lists_the_most_changed_tokens(printed: list[str], stats: HintEffectStats) -> None:
    head = [line for line in printed if "raised  " in line]
    assert [word for line in head for word in line.split()] == ["KL", "problem", "after", "token", "raised", "lowered"]
    for m in stats.moments:
        cells = f"{m.mark.kl:.2f}", m.problem_id, repr(m.mark.text)
        assert any(all(cell in line for cell in cells) for line in printed)


def test_hostile_text_of_a_model_cannot_control_the_terminal(printed: list[str]) -> None:
    text = "\n".join(printed)
    assert "\x1b" not in text and "\u202e" not in text and "\r" not in text
    (row,) = (line for line in printed if "1.50" in line)
    assert "a-very-long-problem-id-0001" in row and "'\\r'" in row and "12→100% '\\x1…" in row and "so on\\n" in row


@pytest.mark.parametrize(("codec", "bound"), [("topk/2", True), ("hidden/2", False), ("dense/2", False)])
def test_only_the_kl_of_top_k_signal_is_called_a_lower_bound(stats: HintEffectStats, codec: str, bound: bool) -> None:
    parts = command.effect(stats, codec)
    assert any("lower bound" in part for part in parts if isinstance(part, str)) is bound


def test_a_run_that_does_not_exist_is_refused(alone: dict[str, str], tmp_path: Path) -> None:
    done = run_ssb("signal", "nope", env=alone, cwd=tmp_path)
    assert done.returncode == 2 and "there is no finished run 'nope'" in done.stderr
