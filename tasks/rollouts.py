"""Task rollouts: sample the base model on the bare questions of one wave."""

from prefect.artifacts import create_table_artifact

from ssb_core.runs import Run

from .caching import stage_task

rollouts = stage_task("rollouts", "Sample K answers of the base model to each bare question.", "gpu")


def publish(run: Run) -> None:
    """Samples and tokens of every wave, as a table."""
    rows = [{"wave": i, **m.facts} for i, m in enumerate(run.manifests("rollouts"), start=1)]
    create_table_artifact(rows, key="ssb-1-rollouts", description=f"Rollouts of {run.name}, by wave")
