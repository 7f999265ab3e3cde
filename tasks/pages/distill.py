"""Artifact page of distill: the training curves."""

from ssb_core.report import charts
from ssb_core.report.markdown import picture
from ssb_core.results import queries
from ssb_core.results.wording import count
from ssb_core.runs import Run

from ..artifacts import Page


def page(run: Run) -> Page | None:
    """What training came to in words, and its curves."""
    figure = charts.training(run)
    if not figure:
        return None
    told = _facts(run)
    return Page("ssb-5-training", told, f"# Training\n\n{picture('training curves', charts.png(figure))}")


def _facts(run: Run) -> str:
    stats, asked = run.manifests("distill")[0].stats, queries.configuration(run).distill
    told = (
        f"{count(stats['traces'], 'trace')}, {count(stats['steps'], 'optimiser step')} in at most "
        f"{count(asked.epochs, 'epoch')}: loss {stats['first_loss']:.4g} at first, {stats['last_loss']:.4g} at last"
    )
    if "best_held_out_loss" in stats:
        told += f", held out {stats['first_held_out_loss']:.4g} and {stats['best_held_out_loss']:.4g} at best"
    return told
