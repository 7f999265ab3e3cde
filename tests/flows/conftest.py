"""Fixtures of the command line's tests."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from rich.console import Console

from flows.cli import console, main


@pytest.fixture
def ssb_here(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs ``ssb`` in this process, in the folder `cwd`. Anything but an exit of the program fails the test."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "SSB_"))]:
        monkeypatch.delenv(name)

    def run(*arguments: str, cwd: os.PathLike[str]) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["ssb", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.app()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())  # type: ignore[arg-type]

    return run


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What the commands print to a terminal of 100 columns."""
    output = io.StringIO()
    monkeypatch.setattr(console, "console", Console(width=100, file=output, markup=False, highlight=False))
    return output
