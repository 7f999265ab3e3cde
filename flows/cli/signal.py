"""What ``ssb signal`` shows: the teacher signal's size and exactness, and what the hint changed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from itertools import chain
from typing import Literal

import humanize
from rich import box
from rich.table import Table

from ssb_core.progress import PlainProgress
from ssb_core.results import hint_effect
from ssb_core.results.hint_effect import Certificates, EffectAtTemperature, HintEffectStats, Storage, TokenInContext
from ssb_core.runs import Run
from ssb_core.signal.marks import Shift

from . import console

LABEL = 12
WIDTHS = {"problem": 17, "after": 19, "token": 9, "raised": 16, "lowered": 16}  # fit 100 columns


def run(chosen: Run, traces: int, top: int, as_json: bool) -> None:
    """Print what is stored at once, and the hint's effect when it is computed."""
    stored, certified = hint_effect.load_storage(chosen), hint_effect.load_certificates(chosen)
    if not as_json:
        console.console.print(facts(stored, certified))
    with console.progress(PlainProgress()) as progress:
        found = hint_effect.measure(chosen, traces, top, progress)
    if as_json:
        sizes = asdict(stored) | {"ratio": stored.ratio}
        figures = {"run": chosen.name, "storage": sizes, "certificates": asdict(certified), "survey": asdict(found)}
        print(json.dumps(figures, indent=1, allow_nan=False))
        return
    for part in effect(found, stored.codec):
        console.console.print(part)


def facts(stored: Storage, certified: Certificates) -> Table:
    """What is stored and how it was certified, a line for each matter."""
    vectors = ", ".join(f"{name}: {numbers}" for name, numbers in stored.fields.items())
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=LABEL)
    table.add_column(overflow="fold")
    table.add_row("signal", f"codec {stored.codec}; a token holds {vectors}")
    table.add_row(
        "captured", f"{stored.tokens:,} tokens of {_count(stored.traces, 'trace')} in {_count(stored.shards, 'shard')}"
    )
    table.add_row(
        "size",
        f"{stored.raw_bytes / stored.tokens:,.0f} bytes a token, "
        f"{stored.stored_bytes / stored.tokens:,.0f} compressed; {_size(stored.stored_bytes)} in all, "
        f"{_size(stored.file_bytes)} with prompts and texts",
    )
    table.add_row(
        "logits", f"in float32 would take {stored.logits_bytes:,} bytes a token, {stored.ratio:,.1f} times as much"
    )
    table.add_row(
        "certificates",
        f"{certified.valid:,} of {_count(certified.shards, 'shard')} valid; {certified.tokens:,} tokens were computed "
        "anew",
    )
    table.add_row(
        "errors",
        f"KL {certified.mean_kl_error:.1e} nats in the mean, {certified.max_kl_error:.1e} at most; log-probabilities "
        f"{certified.max_logp_error:.1e} at most{_of_what(stored.codec)}",
    )
    return table


def effect(found: HintEffectStats, codec: str) -> list[Table | str]:
    """What the hint changed, as distributions and token by token."""
    traces = f"{found.traces:,} of {_count(found.of, 'trace')}"
    rest = " (a seeded draw; --traces 0 takes all)" if found.traces < found.of else ""
    t, start = found.at[-1].temperature, found.at[-1].kl.mean
    lines: list[Table | str] = [
        f"\nWhat the hint changed, over {found.tokens:,} tokens of {traces}{rest}",
        _spreads(found.at),
        f"{found.large:.2%} of the tokens are above {hint_effect.LARGE:g} nat at T = 1; T² KL at T = {t:g} is "
        f"{t * t * start:.3g}, where distillation starts",
    ]
    if codec.startswith("topk/"):
        lines.append("Of this codec KL is a lower bound: what it left out is shared out as the bare student does.")
    if found.moments:
        lines.append("\nWhere it changed the teacher's mind most: KL, and the probabilities it raised and lowered most")
        lines.append(_moments(found.moments))
    return lines


def _of_what(codec: str) -> str:
    return "; what the codec left out is not counted" if codec.startswith("topk/") else ""


def _spreads(at: Sequence[EffectAtTemperature]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("nats a token")
    for heading in ("T", "mean", "median", "90%", "99%", "max"):
        table.add_column(heading, justify="right")
    entropies = [("teacher's entropy", a.temperature, a.entropy) for a in at]
    kls = [("KL(teacher || bare student)", a.temperature, a.kl) for a in at]
    for what, temperature, spread in chain(entropies, kls):
        table.add_row(what, f"{temperature:g}", *(f"{value:.3g}" for value in asdict(spread).values()))
    return table


def _moments(moments: Sequence[TokenInContext]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("KL", justify="right")
    for heading, width in WIDTHS.items():
        justify: Literal["left", "right"] = "right" if heading == "after" else "left"
        table.add_column(heading, max_width=width, no_wrap=True, justify=justify)
    for m in moments:
        cells = _before(m.before), repr(m.mark.text), _shift(m.mark.raised), _shift(m.mark.lowered)
        table.add_row(f"{m.mark.kl:.2f}", m.problem_id, *cells)
    return table


def _shift(shift: Shift) -> str:
    return f"{100 * shift.bare:.0f}→{100 * shift.hinted:.0f}% {shift.text!r}"


def _before(text: str) -> str:
    """The end of a text in one line. Like tokens it is shown as Python writes it: nothing in it steers a terminal."""
    shown, room = repr(text)[1:-1], WIDTHS["after"]
    return shown if len(shown) <= room else f"…{shown[1 - room :]}"


def _count(n: int, what: str) -> str:
    return f"{n:,} {what}" if n == 1 else f"{n:,} {what}s"


def _size(n: int) -> str:
    return humanize.naturalsize(n, format="%.3g")
