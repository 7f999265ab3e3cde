"""Artifact page of baseline grpo: its reward curve."""

from ssb_core.report.charts.rewards import rewards
from ssb_core.report.markdown import picture
from ssb_core.runs import Run
from ssb_core.training.log import LOG, read_log

from ..artifacts import Page


def page(run: Run) -> Page:
    """The reward curve of the first seed as a picture, and what it cost."""
    manifest = run.manifests("grpo")[0]
    log = next(run.store.path(manifest, e) for e in manifest.files if e.path.endswith(LOG))
    stats = manifest.stats
    told = (
        f"{stats['problems']:,} problems, {stats['tokens']:,} generated tokens: mean reward "
        f"{stats['first_reward']:.3f} to {stats['last_reward']:.3f}"
    )
    curve = picture("reward curve", rewards(read_log(log.parent)))
    return Page("ssb-5-training-grpo", told, f"# GRPO\n\n{curve}")
