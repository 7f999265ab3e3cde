"""The command line within this process."""

from __future__ import annotations

from typer.testing import CliRunner

from flows.cli.main import app
from ssb_core.runs import Run


def ssb(*arguments: str, run: Run) -> tuple[int, str]:
    """The exit code and the output of a command on the store of `run`."""
    done = CliRunner().invoke(app, [*arguments, "--store", str(run.store)], env={"COLUMNS": "100"})
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return done.exit_code, done.stdout
