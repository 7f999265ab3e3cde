"""``ssb report`` and ``ssb show``: the results of a finished run, and the history of one of its problems."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from .errors import clean_errors
from .options import RunArgument, RunsOption, StoreOption, open_store


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
        print_summary(run.load_summary(), run.directory)


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


def print_summary(summary: dict[str, Any], directory: Path) -> None:
    """Print the results, where to read more, and what to do next."""
    from ssb_core import report as reports

    from .console import console, results_table, yield_line

    if summary["yield"]["problems"]:
        console.print(yield_line(summary["yield"]))
    if summary["benchmarks"]:
        console.print(results_table(reports.results_table(summary)))
        console.print(reports.verdict_in_words(summary))
    statuses = ", ".join(f"{name} {s['status']}" for name, s in summary["stages"].items())
    console.print(f"\nstages   {statuses}; {summary['seconds']:.0f} s")
    console.print(f"report   {directory / 'report.html'}")
    console.print(f"numbers  {directory / 'summary.json'}")
    console.print(f"next     {_program()} show ID   prints the history of one problem; the report has the ids")


def _program() -> str:
    """The command of this program: its name if that is on the path."""
    return "ssb" if shutil.which("ssb") else os.path.relpath(sys.argv[0])
