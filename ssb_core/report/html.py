"""report.html: a finished run as one self-contained page."""

from __future__ import annotations

import heapq
from bisect import bisect
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from .. import problems
from ..results import hint_effect, queries
from ..results.adapter import load_adapter
from ..results.problem_history import load_examples, load_flipped
from ..results.wording import ANSWER_FORMS, percent
from ..signal.marks import AnnotatedSolution, Shift, TokenEffect
from ..stages import STAGES
from ..store import write_text
from . import header
from .charts import svg
from .charts.draw import draw_charts
from .problem_history import REASONS, sections
from .render import render
from .tables import breakdown, results_table
from .verdict import verdict_in_words

if TYPE_CHECKING:
    from ..runs import Run

EXAMPLES = 3
LARGEST = 5  # tokens listed in a table below the heat map
HEAT = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # nats from which the heat map's colour is one step darker
TEMPLATE = "report.html.j2"


def write(run: Run) -> Path:
    """Write report.html into the run's directory and return its path."""
    path = run.path("report.html")
    write_text(path, page(run))
    return path


def page(run: Run) -> str:
    """The whole report."""
    return render(TEMPLATE, _content(run))


def _content(run: Run) -> dict[str, Any]:
    """The values that the template shows."""
    summary = run.load_summary()
    config = queries.load_config(run)
    adapter = load_adapter(run)
    return {
        "summary": summary,
        "model": header.model_name(config),
        "problem_set": header.problem_set_name(config.problems),
        "finished": header.finished_at(run),
        "command": header.command(run),
        "adapter": adapter,
        "loading_code": header.loading_code(adapter) if adapter else "",
        "is_nano": header.is_nano(run) and config.problems.source in problems.EMBEDDED,
        "headline": verdict_in_words(summary),
        "results": results_table(summary),
        "breakdown": breakdown(summary),
        "funnel": queries.load_funnel(run),
        "reasons": REASONS,
        "answer_forms": ANSWER_FORMS,
        "unverifiable": problems.rejections(config.problems),
        "unverifiable_of": {b.name: problems.rejections(b) for b in config.evaluate.benchmarks},
        "hint": heat_map(hint_effect.load_annotated_solution(run)),
        "charts": {name: (chart, svg(chart, name)) for name, chart in draw_charts(run).items()},
        "examples": [(history, sections(history)) for history in load_examples(run, EXAMPLES)],
        "flipped": [(history, sections(history)) for history in load_flipped(run)],
        "requests": run.load_stages(),
        "config": yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False),  # the file has comments
        "environment": run.load_environment(),
        "order": STAGES,
    }


def heat_map(solution: AnnotatedSolution | None) -> dict[str, Any] | None:
    """A solution with the heat of every token, 0 to ``len(HEAT)``, and the tokens that the hint changed most."""
    if solution is None:
        return None
    tokens = [_hot(e) for e in solution.effects]
    return {
        "problem_id": solution.problem_id,
        "total": solution.tokens,
        "mean": solution.mean_kl,
        "steps": [f"below {HEAT[0]:g}", *(f"{nats:g}" for nats in HEAT)],
        "tokens": tokens,
        "largest": [t for t in heapq.nlargest(LARGEST, tokens, key=itemgetter("nats")) if t["heat"]],
    }


def _hot(effect: TokenEffect) -> dict[str, Any]:
    """A token, its heat, and its change in words. Tokens are quoted as Python does it, so that blanks are visible."""
    return {
        "text": effect.text,
        "nats": effect.kl,
        "heat": bisect(HEAT, effect.kl),
        "ends_line": "\n" in effect.text and not effect.text.strip(),
        "token": repr(effect.text),
        "kl": f"{effect.kl:.3f}",
        "raised": _shift(effect.raised),
        "lowered": _shift(effect.lowered),
    }


def _shift(shift: Shift) -> str:
    return f"{shift.text!r} {percent(shift.bare)}% → {percent(shift.hinted)}%"
