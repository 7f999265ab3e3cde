"""Task select: verify the rollouts of one wave and choose the pairs."""

from prefect.artifacts import create_table_artifact

from ssb_core.runs import Run

from .caching import stage_task

select = stage_task("select", "Verify every rollout; pick a correct and a majority-wrong one of each mixed problem.")


def publish(run: Run) -> None:
    """What became of the problems, as a table."""
    counts = run.summary["yield"]
    rows = [{"problems": name.replace("_", " "), "count": n} for name, n in counts.items() if name != "truncated"]
    create_table_artifact(rows, key="ssb-2-yield", description=f"Yield of {run.name}")
