"""Task teach: the hinted teacher writes the solutions of one wave and its signal is captured."""

from prefect.artifacts import create_markdown_artifact

from ssb_core import story
from ssb_core.runs import Run

from .caching import stage_task

teach = stage_task("teach", "Write a robust solution from the hint, verify it, capture its exact signal.", "gpu")


def publish(run: Run) -> None:
    """One problem's way: its pair and its taught solution."""
    for example in story.examples(run, 1):
        text = story.render(example).replace("```", "'''")
        create_markdown_artifact(
            f"# A worked example\n\n```text\n{text}\n```",
            key="ssb-3-example",
            description=f"A worked example of {run.name}",
        )
