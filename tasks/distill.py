"""Task distill: train the LoRA student on all waves' traces."""

import base64

from prefect.artifacts import create_markdown_artifact

from ssb_core import report
from ssb_core.runs import Run

from .caching import stage_task

distill = stage_task("distill", "Train a LoRA student to match the teacher from the bare question.", "gpu")


def publish(run: Run) -> None:
    """The training curves as a picture."""
    picture = base64.b64encode(report.charts(run)["training"]).decode()
    create_markdown_artifact(
        f"# Training\n\n![training curves](data:image/png;base64,{picture})",
        key="ssb-4-training",
        description=f"Training curves of {run.name}",
    )
