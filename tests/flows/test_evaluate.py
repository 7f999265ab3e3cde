"""``ssb evaluate``: what it prints, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssb_core.runs import Run
from tests.support.runs import copied


def test_the_table_and_the_next_step_are_printed(quick_run: Run, ssb_here: Callable[..., Any], tmp_path: Path) -> None:
    copy = copied(quick_run, tmp_path)
    options = ("--model", "nano", "--benchmarks", "nano-test", "--limit", "48")
    done = ssb_here("evaluate", *options, "--name", "base", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "48 problems, 4 samples each, temperature 0.8, top-k 50, at most 240 tokens" in done.stderr
    assert "evaluate base on nano-test: cached" in done.stderr
    accuracy = copy.load_summary()["benchmarks"]["nano-test"]["models"]["base"]["accuracy"]
    assert f"{100 * accuracy:.1f}%" in done.stdout and f"ssb compare {copy.name} base:base" in done.stdout
    done = ssb_here("report", "base", cwd=tmp_path)
    assert done.returncode == 0 and "0 problems" not in done.stdout
    refused = ssb_here("evaluate", *options, "--name", "quick", cwd=tmp_path)
    assert refused.returncode == 2 and "--name quick is a run with more than an evaluation" in refused.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--benchmarks", "nano-test"], "no model is named\n  remedy: --model"),
        (["--model", "nano"], "no benchmark is named\n  remedy: --benchmarks"),
        (["-m", "nano", "-b", "nano-test,nano-heard"], "there is no benchmark 'nano-heard'; did you mean 'nano-hard'?"),
        (["-m", "nano", "-b", "nano-test", "--adapter", "none"], "adapter none is not a directory"),
        (["-m", "nano", "-b", "nano-test", "--name", "a/b"], "--name 'a/b': a run's name names a folder"),
    ],
)
def test_wrong_options_are_refused_before_any_work(
    options: list[str], message: str, ssb_here: Callable[..., Any], tmp_path: Path
) -> None:
    done = ssb_here("evaluate", *options, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "") and message in done.stderr
    assert list(tmp_path.iterdir()) == []
