"""``ssb report`` and ``ssb show``: the results of a finished run, and the history of one of its problems."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import clean_errors
from .options import RunArgument, RunsOption, StoreOption, open_store

if TYPE_CHECKING:
    from ssb_core.runs import Run


def report(run_name: RunArgument = "latest", store: StoreOption = "store", runs: RunsOption = Path("runs")) -> None:
    """Print the results of a finished run, and write its report.html again.

    This is what ssb run does at its end.

    Example:

      ssb report latest
    """
    with clean_errors():
        from ssb_core import report as reports
        from ssb_core.runs import Run

        run = Run.named(runs, run_name, open_store(store))
        reports.write(run)
        print_summary(run.load_summary(), run)


def show(
    problem_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a problem, for example nano-train-0007.")],
    run_name: Annotated[
        str, typer.Option("--run", "-r", metavar="RUN", help="Name of a finished run, or 'latest'.")
    ] = "latest",
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Print the history of one problem.

    It has the problem's rollouts, verdicts, pair and taught solution, and the
    answers of the base and the student.

    Example:

      ssb show nano-train-0007
    """
    with clean_errors():
        from ssb_core.report import problem_history
        from ssb_core.results import load_history
        from ssb_core.runs import Run

        run = Run.named(runs, run_name, open_store(store))
        print(problem_history.render(load_history(run, problem_id)))


def print_summary(summary: dict[str, Any], run: Run) -> None:
    """Print the results, where to read more, and what to do next."""
    from ssb_core import report as reports

    from .console import console, results_table, yield_line

    console.print(yield_line(summary["yield"]))
    if summary["benchmarks"]:
        console.print(results_table(reports.results_table(summary)))
        console.print(reports.verdict_in_words(summary))
    statuses = ", ".join(f"{name} {s['status']}" for name, s in summary["stages"].items())
    console.print(f"\nstages   {statuses}; {summary['seconds']:.0f} s")
    for name, text in (
        ("report", run.directory / "report.html"),
        ("numbers", run.directory / "summary.json"),
        ("next", f"{next_command(run)}   (the history of a problem)"),
    ):
        console.print(f"{name:<8} {text}", soft_wrap=True)  # a path and a command are copied as one line


def next_command(run: Run) -> str:
    """The command that shows the history of a problem of the run, one that was taught if there is any."""
    from ssb_core.results.problem_history import example_id

    words = [example_id(run) or "ID", "--run", run.name]
    for option, place in {"store": str(run.store), "runs": str(run.directory.parent)}.items():
        if place != option:  # the default has the option's name
            words += [f"--{option}", place]
    return f"{_program()} show {shlex.join(words)}"


def _program() -> str:
    """The command of this program: its name if that is on the path."""
    return "ssb" if shutil.which("ssb") else os.path.relpath(sys.argv[0])
