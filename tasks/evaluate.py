"""Task evaluate: one model on one benchmark."""

import base64

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from ssb_core import report
from ssb_core.runs import Run

from .caching import stage_task

evaluate = stage_task("evaluate", "Sample and grade one model on one held-out benchmark.", "gpu")


def publish(run: Run) -> None:
    """The results table, with the verdict in words, and the report's charts."""
    summary = run.summary
    create_table_artifact(
        report.results_table(summary), key="ssb-5-results", description=report.verdict_in_words(summary)
    )
    pictures = {name: base64.b64encode(png).decode() for name, png in report.charts(run).items() if name != "training"}
    create_markdown_artifact(
        "\n\n".join(f"![{name}](data:image/png;base64,{picture})" for name, picture in pictures.items()),
        key="ssb-6-charts",
        description=f"Charts of {run.name}",
    )
