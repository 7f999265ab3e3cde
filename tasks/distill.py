"""Task distill: train the LoRA student on all waves' traces."""

from ssb_core import charts, findings
from ssb_core.markdown import picture
from ssb_core.runs import Run
from ssb_core.wording import count

from .artifacts import Page
from .caching import stage_task

distill = stage_task("distill", "Train a LoRA student to match the teacher from the bare question.", "gpu")


def page(run: Run) -> Page | None:
    """What training came to in words, and its curves."""
    figure = charts.training(run)
    if not figure:
        return None
    told = _facts(run)
    return Page("ssb-5-training", told, f"# Training\n\n{picture('training curves', charts.png(figure))}")


def _facts(run: Run) -> str:
    facts, asked = run.manifests("distill")[0].facts, findings.configuration(run).distill
    told = (
        f"{count(facts['traces'], 'trace')}, {count(facts['steps'], 'optimiser step')} in at most "
        f"{count(asked.epochs, 'epoch')}: loss {facts['first_loss']:.4g} at first, {facts['last_loss']:.4g} at last"
    )
    if "best_held_out_loss" in facts:
        told += f", held out {facts['first_held_out_loss']:.4g} and {facts['best_held_out_loss']:.4g} at best"
    return told
