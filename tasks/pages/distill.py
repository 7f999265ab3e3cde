"""Artifact page of distill: the training curves."""

from ssb_core.report import charts
from ssb_core.report.markdown import picture
from ssb_core.results import queries
from ssb_core.results.wording import count
from ssb_core.runs import Run

from ..artifacts import Page


def page(run: Run) -> Page | None:
    """What training came to in words, and its curves."""
    figure = charts.draw_training(run)
    if not figure:
        return None
    told = _facts(run)
    return Page("ssb-5-training", told, f"# Training\n\n{picture('training curves', charts.png(figure))}")


def _facts(run: Run) -> str:
    facts, asked = run.manifests("distill")[0].facts, queries.load_config(run).distill
    told = (
        f"{count(facts['traces'], 'trace')}, {count(facts['steps'], 'optimiser step')} in at most "
        f"{count(asked.epochs, 'epoch')}: loss {facts['first_loss']:.4g} at first, {facts['last_loss']:.4g} at last"
    )
    if "best_held_out_loss" in facts:
        told += f", held out {facts['first_held_out_loss']:.4g} and {facts['best_held_out_loss']:.4g} at best"
    return told
