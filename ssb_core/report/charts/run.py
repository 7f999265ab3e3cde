"""The charts of a run as PNGs: colour-blind safe (Okabe and Ito's palette), legible at page width, no pyplot state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ...results import queries
from ...results.wording import how_many, named
from . import compared
from .canvas import INK, PALE, SOFT, STUDENT, axes_of, blank, colour, curve, dress, png

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from ...runs import Run

NAMES = ("accuracy", "training", "yield", "lengths", "costs", "rounds", "votes")
DIVERGENCES = {"forward_kl": "forward KL", "reverse_kl": "reverse KL", "jsd": "JSD"}


def draw_charts(run: Run, names: Sequence[str] = NAMES) -> dict[str, bytes]:
    """PNGs by name; what the run has no data for is left out."""
    draw: dict[str, Callable[[Run], Figure | None]] = {
        "accuracy": lambda run: accuracy(run.load_summary()["benchmarks"]),
        "training": training,
        "yield": funnel,
        "lengths": lengths,
        "costs": compared.costs,
        "rounds": compared.rounds,
        "votes": compared.votes,
    }
    figures = {name: draw[name](run) for name in names}
    return {name: png(figure) for name, figure in figures.items() if figure}


def accuracy(benchmarks: dict[str, Any]) -> Figure | None:
    """Accuracy of every model on every benchmark, with 95% whiskers."""
    models = _models(benchmarks)
    if not models:
        return None
    figure = blank(3.2)
    axes = axes_of(figure, "Accuracy, with 95% intervals", ylabel="% correct")
    width = min(0.8 / len(models), 0.3)
    for i, model in enumerate(models):
        shift = (i - (len(models) - 1) / 2) * width
        scores = {at + shift: b["models"][model] for at, b in enumerate(benchmarks.values()) if model in b["models"]}
        _bars(axes, scores, width, colour(model, models), model)
    axes.set_xticks(range(len(benchmarks)), [_ticked(name, b) for name, b in benchmarks.items()])
    axes.set_xlim(-0.75, len(benchmarks) - 0.25)
    axes.set_ylim(0, min(112.0, axes.get_ylim()[1] * 1.08))
    figure.legend(frameon=False, loc="outside lower center", ncols=len(models))
    return figure


def _ticked(name: str, benchmark: dict[str, Any]) -> str:
    return f"{name}\npartial: {how_many(benchmark)}" if benchmark["partial"] else name


def _models(benchmarks: dict[str, Any]) -> list[str]:
    """Every evaluated model once, the base first."""
    names = dict.fromkeys(m for b in benchmarks.values() for m in b["models"])
    return sorted(names, key=lambda m: m != "base")


def _bars(axes: Axes, scores: dict[float, dict[str, Any]], width: float, colour: str, label: str) -> None:
    """One bar for each score, whiskers to its interval, its value above them."""
    heights = [100 * s["accuracy"] for s in scores.values()]
    low, high = ([100 * s["ci95"][side] for s in scores.values()] for side in (0, 1))
    whiskers = [
        [max(0.0, h - x) for h, x in zip(heights, low, strict=True)],
        [max(0.0, x - h) for h, x in zip(heights, high, strict=True)],
    ]
    style = {"ecolor": INK, "elinewidth": 1.2, "capsize": 4}
    axes.bar(list(scores), heights, width * 0.92, yerr=whiskers, color=colour, label=label, error_kw=style)
    for at, height, top in zip(scores, heights, high, strict=True):
        axes.annotate(
            f"{height:.1f}", (at, max(top, height)), (0, 3), textcoords="offset points", ha="center", color=INK
        )


def training(run: Run) -> Figure | None:
    """Loss and gradient norm by optimiser step, raw and smoothed."""
    log = queries.training_log(run)
    if not log:
        return None
    figure = blank(4.2)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    asked = queries.configuration(run).distill
    mixed = f", {asked.cross_entropy:.0%} cross-entropy" if asked.cross_entropy else ""
    dress(upper, f"Distillation loss ({DIVERGENCES[asked.divergence]} times T²{mixed}, nats a token)")
    curve(upper, log, "loss")
    if held_out := [(row["step"], row["held_out_loss"]) for row in log if "held_out_loss" in row]:
        upper.plot(*zip(*held_out, strict=True), color=INK, linewidth=1, marker="o", markersize=4, label="held out")
    upper.legend(frameon=False, loc="best")
    clip = asked.max_grad_norm
    dress(lower, f"Gradient norm (clipped at {clip:g})", xlabel="optimiser step")
    curve(lower, log, "grad_norm")
    if clip <= lower.get_ylim()[1]:
        lower.axhline(clip, color=INK, linewidth=1, linestyle="--")
    return figure


def funnel(run: Run) -> Figure | None:
    """How many problems each step kept, and why it dropped the others."""
    steps = queries.funnel(run)
    if not steps:
        return None
    figure = blank(0.55 + 0.72 * len(steps))
    axes = axes_of(figure, "Problems kept by each step")
    whole = steps[0].kept
    for at, step in enumerate(steps):
        axes.barh(at, step.kept + sum(step.dropped.values()), 0.46, color=PALE)
        axes.barh(at, step.kept, 0.46, color=STUDENT)
        axes.text(whole * 1.015, at, f"{step.kept:,} ({step.kept / whole:.0%})", va="center", color=INK, weight="bold")
        reasons = ", ".join(f"{n:,} {reason.replace('_', ' ')}" for reason, n in step.dropped.items())
        axes.text(0, at + 0.36, f"dropped: {reasons}" if reasons else "", va="center", color=SOFT, fontsize=9)
    axes.set_yticks(range(len(steps)), [s.name for s in steps])
    axes.set_xlim(0, whole * 1.18)
    axes.set_ylim(len(steps) - 0.4, -0.4)
    axes.grid(False)
    axes.xaxis.set_visible(False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    return figure


def lengths(run: Run) -> Figure | None:
    """Tokens per completion of base and student on the first benchmark."""
    import numpy as np

    found = queries.evaluations(run)
    first = [e for e in found if e.benchmark == found[0].benchmark]
    if not first:
        return None
    shown = {e.model: queries.lengths(run, e.manifest) for e in first if e.model in ("base", "ssb")}
    every = np.concatenate(list(shown.values()))
    whole = -(-int(np.ptp(every) + 1) // 40)  # bins of whole tokens, or their counts would alternate
    edges = (np.arange(every.min(), every.max() + whole + 1, whole) - 0.5).tolist()
    figure = blank(2.9)
    where = named(first[0].benchmark, run.load_summary()["benchmarks"][first[0].benchmark])
    axes = axes_of(figure, f"Completion length on {where}", xlabel="tokens", ylabel="% of samples")
    for model, tokens in shown.items():
        hue, share = colour(model, list(shown)), np.full(len(tokens), 100 / len(tokens))
        label = f"{model} (mean {tokens.mean():.0f})"
        axes.hist(tokens, edges, weights=share, color=hue, alpha=0.35)
        axes.hist(tokens, edges, weights=share, color=hue, histtype="step", linewidth=1.8, label=label)
    axes.legend(frameon=False, loc="upper right")
    return figure
