"""``ssb report`` and ``ssb show``: the results of a run, and the history of one of its problems."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .errors import clean_errors
from .options import AnyRunArgument, RunsOption, StoreOption, open_store

if TYPE_CHECKING:
    from ssb_core.runs import Draft, Run


def report(run_name: AnyRunArgument = "latest", store: StoreOption = "store", runs: RunsOption = Path("runs")) -> None:
    """Print the results of a run, and write its report.html again.

    This is what ssb run does at its end. Of a run that is not finished, print
    how far it is and why it failed.

    Example:

      ssb report latest
    """
    with clean_errors():
        from ssb_core import report as reports
        from ssb_core.errors import StoreError
        from ssb_core.runs import Run

        run = Run.found(runs, run_name, open_store(store))
        if run.is_finished():
            run.settle()
            try:
                reports.write(run)
            except StoreError as e:  # e.g. a forced stage was interrupted
                print(f"note: report.html stays as it was: {e}", file=sys.stderr)
            print_summary(run.load_summary(), run)
            if run_name == "latest":
                _note_later_run(runs, run)
        if run.draft.exists():
            if run.is_finished():
                print("\nThese are the results of an earlier try; the last one:")
            _print_unfinished(run.draft)


def show(
    problem_id: Annotated[str, typer.Argument(metavar="ID", help="Id of a problem: nano-train-0007, or nano-train-7.")],
    run_name: Annotated[
        str, typer.Option("--run", "-r", metavar="RUN", help="Name of a run, finished or not, or 'latest'.")
    ] = "latest",
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Print the history of one problem.

    It has the problem's rollouts, verdicts, pair and taught solution, and the
    answers of the base and the student. Of a run that is not finished, it has
    the stages that are.

    Example:

      ssb show nano-train-0007
    """
    with clean_errors():
        from ssb_core.report import problem_history
        from ssb_core.results import load_history
        from ssb_core.runs import Run, status

        run = Run.found(runs, run_name, open_store(store))
        if not run.is_finished():
            print(f"note: {status.in_words(status.state_of(run))}; this is its history so far", file=sys.stderr)
        if run_name == "latest":
            _note_later_run(runs, run)
        print(problem_history.render(load_history(run, problem_id)))


def print_summary(summary: dict[str, Any], run: Run) -> None:
    """Print the results, where to read more, and what to do next."""
    from ssb_core import report as reports
    from ssb_core.results.wording import duration

    from .console import console, results_table, yield_line

    if summary["yield"]["problems"]:
        console.print(yield_line(summary["yield"]))
    if summary["benchmarks"]:
        console.print(results_table(reports.results_table(summary)))
        console.print(reports.verdict_in_words(summary))
    making = summary["making"]
    made = (
        f"its stages took {duration(making['seconds'])} and {making['tokens']:,} sampled tokens, in this run or before"
    )
    console.print(f"\nstages   {_statuses(summary)}")
    for name, text in (
        ("time", f"{duration(summary['seconds'])} in this run; {made}"),
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


def _statuses(summary: dict[str, Any]) -> str:
    return ", ".join(f"{name} {s['status']}" for name, s in summary["stages"].items())


def _note_later_run(runs: Path, run: Run) -> None:
    """Say on stderr that another run began after `run` finished, if it is not finished."""
    from ssb_core.runs import status
    from ssb_core.runs.run import unfinished_runs

    others = [r for r in unfinished_runs(runs, run.store) if r.name != run.name and r.began_after(run)]
    if others:
        state = status.state_of(others[-1])
        how = "failed" if state.state == "failed" else f"is {state.state}"
        print(f"note: run {state.name} began later and {how}; see: {_program()} report {state.name}", file=sys.stderr)


def _print_unfinished(draft: Draft) -> None:
    """Print the state of a run that is not finished, its yield so far, and the error that ended it."""
    from ssb_core.errors import printable
    from ssb_core.results import queries
    from ssb_core.runs import status

    from .console import console, yield_line

    state, failure, stages = status.state_of(draft), draft.load_failure(), draft.load_stages()
    if failure and state.state == "failed":
        console.print(f"run {draft.name} failed in {failure.label}: {printable(failure.message or failure.error)}\n")
    else:
        console.print(f"{status.in_words(state)}\n")
    if stages:
        console.print(f"so far   {', '.join(f'{s.label} {s.status}' for s in stages)}")
    if any(s.stage == "select" for s in stages):
        console.print(f"yield    {yield_line(queries.load_yield(draft))}")
    console.print(f"config   {draft.path('config.yaml')}")
    if state.state != "at work":
        console.print("next     run the same command again: what is finished is reused")


def _program() -> str:
    """The command of this program: its name if that is on the path."""
    return "ssb" if shutil.which("ssb") else os.path.relpath(sys.argv[0])
