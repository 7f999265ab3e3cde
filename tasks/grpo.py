"""Task grpo: the baseline that learns from verdicts alone."""

import base64

from prefect.artifacts import create_markdown_artifact

from ssb_core.charts.rewards import rewards
from ssb_core.runs import Run
from ssb_core.stages import distill

from .caching import stage_task

grpo = stage_task("grpo", "Train the same student by reinforcement learning, with the verifier as reward (TRL).", "gpu")


def publish(run: Run) -> None:
    """The reward curve of the first seed as a picture, and what it cost."""
    manifest = run.manifests("grpo")[0]
    log = next(run.store.path(manifest, e) for e in manifest.entries if e.path.endswith(distill.LOG))
    picture = base64.b64encode(rewards(distill.read_log(log.parent))).decode()
    facts = manifest.facts
    create_markdown_artifact(
        f"# GRPO\n\n{facts['problems']:,} problems, {facts['tokens']:,} generated tokens: mean reward "
        f"{facts['first_reward']:.3f} to {facts['last_reward']:.3f}\n\n"
        f"![reward curve](data:image/png;base64,{picture})",
        key="ssb-4-grpo",
        description=f"Reward curve of {run.name}",
    )
