"""The history of one problem in a run, as records and as text."""

from __future__ import annotations

from ..report.problem_history import render
from ..results.problem_history import ProblemHistory, load_history
from ..runs import Run


def problem_history(run: Run, problem_id: str) -> ProblemHistory:
    """Everything that happened to one problem: its rollouts, verdicts, pair, taught solution or benchmark samples.

    Of a run that has never finished, this is its history so far.

    Raises:
        ConfigError: no problem set of the run has this id; the message names the most similar ids.
        StoreError: the store no longer has the run's shards.
    """
    return load_history(_readable(run), problem_id)


def show(run: Run, problem_id: str) -> str:
    """The history of one problem as ``ssb show`` prints it; raises as `problem_history`."""
    return render(load_history(_readable(run), problem_id))


def _readable(run: Run) -> Run:
    """The files of a run, or those of its try that is not finished if none has finished."""
    return run if run.is_finished() else run.draft
