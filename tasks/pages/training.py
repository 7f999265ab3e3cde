"""The artifact page ``ssb-5-training``: the training curves of the student."""

from ssb_core.report import charts
from ssb_core.report.markdown import picture
from ssb_core.results import queries
from ssb_core.results.wording import count
from ssb_core.runs import Run

from ..artifacts import Page


def page(run: Run) -> Page | None:
    """The result of the training in words, and its curves. None if there is no training log."""
    chart = charts.draw_training(run)
    if not chart:
        return None
    body = f"# Training\n\n{picture('training curves', charts.png(chart))}"
    return Page("ssb-5-training", _description(run), body)


def _description(run: Run) -> str:
    stats, settings = run.manifests("distill")[0].stats, queries.load_config(run).distill
    text = (
        f"{count(stats['traces'], 'trace')}, {count(stats['steps'], 'optimiser step')} in at most "
        f"{count(settings.epochs, 'epoch')}: loss {stats['first_loss']:.4g} at first, {stats['last_loss']:.4g} at last"
    )
    if "best_held_out_loss" in stats:
        text += f", held out {stats['first_held_out_loss']:.4g} and {stats['best_held_out_loss']:.4g} at best"
    return text
