"""The artifact page ``ssb-5-training-grpo``: the reward curve of the baseline grpo."""

from ssb_core.report.charts.rewards import draw_rewards
from ssb_core.report.markdown import picture
from ssb_core.runs import Run
from ssb_core.training.log import LOG, read_log

from ..artifacts import Page


def page(run: Run) -> Page:
    """The reward curve of the first seed, and what it cost in problems and tokens."""
    manifest = run.manifests("grpo")[0]
    log = next(run.store.path(manifest, file) for file in manifest.files if file.path.endswith(LOG))
    stats = manifest.stats
    description = (
        f"{stats['problems']:,} problems, {stats['tokens']:,} generated tokens: mean reward "
        f"{stats['first_reward']:.3f} to {stats['last_reward']:.3f}"
    )
    curve = picture("reward curve", draw_rewards(read_log(log.parent)))
    return Page("ssb-5-training-grpo", description, f"# GRPO\n\n{curve}")
