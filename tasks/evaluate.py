"""Task evaluate: one model on one benchmark."""

from prefect.artifacts import create_table_artifact

from ssb_core import report
from ssb_core.runs import Run

from .caching import stage_task

evaluate = stage_task("evaluate", "Sample and grade one model on one held-out benchmark.", "gpu")


def publish(run: Run) -> None:
    """The results table, with the verdict in words."""
    summary = run.summary
    create_table_artifact(
        report.results_table(summary), key="ssb-5-results", description=report.verdict_in_words(summary)
    )
