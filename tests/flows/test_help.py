"""Help is instant, fits 80 columns, and every command's help has an example that the command accepts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.cli.main import COMMANDS, app
from ssb_core.stages import STAGES
from tests.support.processes import cpu_of_children, run_ssb

NAMES = [command.__name__.replace("_", "-") for commands in COMMANDS.values() for command in commands]


def test_help_takes_less_than_half_a_second_of_a_core(alone: dict[str, str], tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        before = cpu_of_children()
        done = run_ssb("--help", env=alone, cwd=tmp_path, timeout=10)
        seconds.append(cpu_of_children() - before)
        assert done.returncode == 0 and "quickstart" in done.stdout
    assert min(seconds) < 0.5


@pytest.mark.parametrize("command", [None, *NAMES])
def test_help_in_a_pipe_fits_80_columns_and_has_an_example(
    command: str | None, ssb_here: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = ssb_here(*([command] if command else []), "--help", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80 and "\x1b" not in done.stdout
    examples = [re.split("[|>]", line)[0] for line in lines if re.match(r" {3,4}ssb ", line)]
    assert examples
    for name, *arguments in (shlex.split(example)[1:] for example in examples):
        group: Any = typer.main.get_command(app)
        group.commands[name].make_context(name, arguments)  # fails if there is no such option


def test_the_help_of_run_names_every_stage(ssb_here: Callable[..., Any], tmp_path: Path) -> None:
    words = ssb_here("run", "--help", cwd=tmp_path).stdout
    assert [stage for stage in STAGES if not re.search(rf"\b{stage}\b", words)] == []


def test_version_is_that_of_the_package(ssb_here: Callable[..., Any], tmp_path: Path) -> None:
    done = ssb_here("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"ssb {version('ssb')}\n")
