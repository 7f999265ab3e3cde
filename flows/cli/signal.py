"""``ssb signal``: the size and exactness of a run's teacher signal, and the effect of the hint."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import environment
from .errors import clean_errors
from .options import RunArgument, RunsOption, StoreOption, open_store

if TYPE_CHECKING:
    from rich.table import Table

    from ssb_core.results.hint_effect import Certificates, EffectAtTemperature, HintEffectStats, Storage, TokenInContext
    from ssb_core.runs import Run
    from ssb_core.signal.marks import Shift

LABEL_WIDTH = 12
WIDTHS = {"after": 19, "token": 9, "raised": 16, "lowered": 16}


def signal(
    run_name: RunArgument = "latest",
    traces: Annotated[
        int, typer.Option(min=0, metavar="N", help="Examine N taught traces, a seeded draw; 0 means all of them.")
    ] = 64,
    top: Annotated[int, typer.Option(min=0, metavar="N", help="List the N tokens that the hint changed most.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print all figures as JSON.")] = False,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Show a run's teacher signal: its size, its exactness, and the effect of the hint.

    The effect of the hint is KL(teacher || bare student) in nats, at every
    token of a taught solution. The teacher has seen the hint; the bare student
    is the same model with the question alone.

    The command loads the base model on the device that the run used, and writes
    nothing.

    Example: read every taught trace, list the 20 tokens that changed most.

      ssb signal latest --traces 0 --top 20
    """
    with clean_errors("interrupted"):
        environment.set_defaults()
        from ssb_core.runs import Run

        print_signal(Run.named(runs, run_name, open_store(store)), traces, top, as_json)


def print_signal(run: Run, traces: int, top: int, as_json: bool) -> None:
    """Print the size and exactness at once, and the hint's effect as soon as it is computed."""
    from ssb_core.progress import PlainProgress
    from ssb_core.results import hint_effect

    from . import console

    storage, certificates = hint_effect.load_storage(run), hint_effect.load_certificates(run)
    if not as_json:
        console.console.print(storage_table(storage, certificates))
    with console.progress(PlainProgress()) as progress:
        stats = hint_effect.measure(run, traces, top, progress)
    if as_json:
        sizes = asdict(storage) | {"ratio": storage.ratio}
        figures = {"run": run.name, "storage": sizes, "certificates": asdict(certificates), "survey": asdict(stats)}
        print(json.dumps(figures, indent=1, allow_nan=False))
        return
    for part in effect(stats, storage.codec):
        console.console.print(part)


def storage_table(storage: Storage, certificates: Certificates) -> Table:
    """The stored signal and its exactness, one line for each topic."""
    from rich.table import Table

    from ssb_core.results.wording import count, size

    vectors = ", ".join(f"{name}: {numbers}" for name, numbers in storage.fields.items())
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=LABEL_WIDTH)
    table.add_column(overflow="fold")
    table.add_row("signal", f"codec {storage.codec}; a token has {vectors}")
    table.add_row(
        "captured", f"{storage.tokens:,} tokens of {count(storage.traces, 'trace')} in {count(storage.shards, 'shard')}"
    )
    table.add_row(
        "size",
        f"{storage.raw_bytes / storage.tokens:,.0f} bytes a token, "
        f"{storage.stored_bytes / storage.tokens:,.0f} compressed; {size(storage.stored_bytes)} in all, "
        f"{size(storage.file_bytes)} with prompts and texts",
    )
    table.add_row(
        "logits", f"in float32 would take {storage.logits_bytes:,} bytes a token, {storage.ratio:,.1f} times as much"
    )
    table.add_row(
        "certificates",
        f"{certificates.valid:,} of {count(certificates.shards, 'shard')} valid; {certificates.tokens:,} tokens were "
        "recomputed",
    )
    not_counted = "; what the codec left out is not counted" if storage.codec.startswith("topk/") else ""
    table.add_row(
        "errors",
        f"KL {certificates.mean_kl_error:.1e} nats on average, {certificates.max_kl_error:.1e} at most; "
        f"log-probabilities {certificates.max_logp_error:.1e} at most{not_counted}",
    )
    return table


def effect(stats: HintEffectStats, codec: str) -> list[Table | str]:
    """The effect of the hint, as distributions over all tokens and as the most changed tokens."""
    from ssb_core.results import hint_effect
    from ssb_core.results.wording import count

    traces = f"{stats.traces:,} of {count(stats.of, 'trace')}"
    rest = " (a seeded draw; --traces 0 takes all)" if stats.traces < stats.of else ""
    t, kl = stats.at[-1].temperature, stats.at[-1].kl.mean
    parts: list[Table | str] = [
        f"\nEffect of the hint, over {stats.tokens:,} tokens of {traces}{rest}",
        _spread_table(stats.at),
        f"{stats.large:.2%} of the tokens are above {hint_effect.LARGE:g} nat at T = 1; T² KL at T = {t:g} is "
        f"{t * t * kl:.3g}, where distillation starts",
    ]
    if codec.startswith("topk/"):
        parts.append(
            "With this codec KL is a lower bound: the mass that it left out is distributed as the bare student does."
        )
    if stats.moments:
        parts.append("\nTokens that the hint changed most: KL, and the probabilities that it raised and lowered most")
        parts.append(_token_table(stats.moments))
    return parts


def _spread_table(at: Sequence[EffectAtTemperature]) -> Table:
    from .console import fitting_table

    entropies = [("teacher's entropy", a.temperature, a.entropy) for a in at]
    kls = [("KL(teacher || bare student)", a.temperature, a.kl) for a in at]
    headings = ("nats a token", "T", "mean", "median", "90%", "99%", "max")
    rows = [
        (quantity, f"{temperature:g}", *(f"{value:.3g}" for value in asdict(spread).values()))
        for quantity, temperature, spread in chain(entropies, kls)
    ]
    return fitting_table([dict(zip(headings, row, strict=True)) for row in rows], (), headings[:1])


def _token_table(moments: Sequence[TokenInContext]) -> Table:
    from .console import new_table, text_widths

    table, kls = new_table(), [f"{m.mark.kl:.2f}" for m in moments]
    table.add_column("KL", justify="right", no_wrap=True)
    table.add_column("problem", no_wrap=True)
    widths = text_widths(WIDTHS, [max(map(len, kls)), max(len(m.problem_id) for m in moments)])
    for heading, width in widths.items():
        table.add_column(heading, max_width=width, no_wrap=True, justify="right" if heading == "after" else "left")
    for kl, m in zip(kls, moments, strict=True):
        cells = _context(m.before, widths["after"]), repr(m.mark.text), _change(m.mark.raised), _change(m.mark.lowered)
        table.add_row(kl, m.problem_id, *cells)
    return table


def _change(shift: Shift) -> str:
    """``12→99% 'token'``: the probability without and with the hint."""
    return f"{100 * shift.bare:.0f}→{100 * shift.hinted:.0f}% {shift.text!r}"


def _context(text: str, width: int) -> str:
    """The end of a text in one line, escaped as Python does, so that it cannot control the terminal."""
    escaped = repr(text)[1:-1]
    return escaped if len(escaped) <= width else f"…{escaped[1 - width :]}"
