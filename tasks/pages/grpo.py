"""Artifact page of baseline grpo: its reward curve."""

from ssb_core.report.charts.rewards import draw_rewards
from ssb_core.report.markdown import picture
from ssb_core.runs import Run
from ssb_core.stages import distill

from ..artifacts import Page


def page(run: Run) -> Page:
    """The reward curve of the first seed as a picture, and what it cost."""
    manifest = run.manifests("grpo")[0]
    log = next(run.store.path(manifest, e) for e in manifest.entries if e.path.endswith(distill.LOG))
    facts = manifest.facts
    told = (
        f"{facts['problems']:,} problems, {facts['tokens']:,} generated tokens: mean reward "
        f"{facts['first_reward']:.3f} to {facts['last_reward']:.3f}"
    )
    curve = picture("reward curve", draw_rewards(distill.read_log(log.parent)))
    return Page("ssb-5-training-grpo", told, f"# GRPO\n\n{curve}")
