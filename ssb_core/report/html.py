"""A run as a person reads it: its numbers in words and cells, and one self-contained report.html.

Result numbers are formatted here and nowhere else, so that terminal, Prefect artifact and HTML always agree.
"""

from __future__ import annotations

import base64
import heapq
from bisect import bisect
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import problems
from ..results import hint_effect, problem_history, queries
from ..results.wording import (
    ANSWER_FORMS,
    contaminated,
    decoding,
    duration,
    how_many,
    label,
    named,
    p_value,
    percent,
    points,
    significant,
)
from ..signal.marks import AnnotatedSolution, Shift, TokenEffect
from ..stages import STAGES
from ..store import atomic_write
from .charts import draw_charts

if TYPE_CHECKING:
    from ..runs import Run

__all__ = ["breakdown", "draw_charts", "page", "results_table", "verdict_in_words", "write"]

STORIES = 3
SINGLED_OUT = 5  # tokens told in a table below the heat map
HEAT = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)  # nats at which the heat map's colour gets one step darker
TEMPLATE = "report.html.j2"
OPTIONAL = ("seeds", "maj@k", "pass@k")  # columns of the results table that not every run has


def results_table(summary: dict[str, Any]) -> list[dict[str, str]]:
    """One row of formatted cells for each model on each benchmark, the base first.

    Majority vote, pass@k and training seeds have columns only where some row has several samples, or seeds.
    """
    rows = [
        _row(name, model, benchmark)
        for name, benchmark in summary["benchmarks"].items()
        for model in _models(benchmark)
    ]
    unused = {name for name in OPTIONAL if not any(row[name] for row in rows)}
    return [{name: cell for name, cell in row.items() if name not in unused} for row in rows]


def _models(benchmark: dict[str, Any]) -> list[str]:
    return sorted(benchmark["models"], key=lambda m: m != "base")


def _row(name: str, model: str, benchmark: dict[str, Any]) -> dict[str, str]:
    score, difference = benchmark["models"][model], benchmark["paired"].get(f"{model}-base")
    low, high = score["ci95"]
    k = benchmark["samples"]
    return {
        "benchmark": label(name, benchmark),
        "model": model,
        "accuracy": f"{percent(score['accuracy'])}%",
        "95% interval": f"{percent(low)} to {percent(high)}",
        "vs base": _difference(difference) if difference else "",
        "seeds": f"{len(score['seeds'])} (sd {percent(score['seed_sd'])})" if "seeds" in score else "",
        "maj@k": f"{percent(score['maj_at_k'])}%" if k > 1 else "",
        "pass@k": f"{percent(score['pass_at_k'][str(k)])}%" if k > 1 else "",
        "string match": f"{percent(score['string_match'])}%",
        "no answer": f"{percent(score['no_answer'])}%",
        "truncated": f"{percent(score['truncated'])}%",
        "tokens": f"{score['mean_tokens']:,.0f}",
    }


def breakdown(summary: dict[str, Any]) -> dict[str, list[dict[str, str]]]:
    """Accuracy by level and by subject as rows of formatted cells, by title; nothing where problems have neither."""
    return {
        f"{named(name, benchmark)} by {of}": [_group(of, value, benchmark) for value in groups]
        for name, benchmark in summary["benchmarks"].items()
        for of in ("level", "subject")
        if (groups := benchmark["models"][_models(benchmark)[0]][f"by_{of}"])
    }


def _group(label: str, value: str, benchmark: dict[str, Any]) -> dict[str, str]:
    """One row: accuracy and 95% interval of every model on the problems of one level or subject."""
    scores = {m: benchmark["models"][m][f"by_{label}"][value] for m in _models(benchmark)}
    cells = {m: f"{percent(s['accuracy'])}% ({' to '.join(map(percent, s['ci95']))})" for m, s in scores.items()}
    return {label: value, "problems": f"{next(iter(scores.values()))['n']:,}", **cells}


def _difference(paired: dict[str, Any]) -> str:
    low, high = paired["ci95"]
    return f"{points(paired['difference'])} ({points(low)} to {points(high)}), {p_value(paired['p_value'])}"


def verdict_in_words(summary: dict[str, Any]) -> str:
    """Whether the student differs from its base, and how much of that is notation; one line for each benchmark."""
    benchmarks = summary["benchmarks"]
    if not benchmarks:
        return "This run did not evaluate its models."
    compared = {name: b for name, b in benchmarks.items() if "ssb-base" in b["paired"]}
    if not compared:
        on = ", ".join(named(name, b) for name, b in benchmarks.items())
        return f"Only the base was evaluated, on {on}; there is no student to compare with."
    return "\n".join(_sentence(name, b) for name, b in compared.items())


def _sentence(name: str, benchmark: dict[str, Any]) -> str:
    paired = benchmark["paired"]["ssb-base"]
    low, high = paired["ci95"]
    base, student = (percent(benchmark["models"][m]["accuracy"]) for m in ("base", "ssb"))
    relation, noise = "cannot be told apart from", "not distinguishable from noise"
    if significant(paired):
        relation, noise = "is better than" if low > 0 else "is worse than", "distinguishable from noise"
    return (
        f"On {named(name, benchmark)}, SSB ({student}%) {relation} its base ({base}%): "
        f"{points(paired['difference'])} points, {noise} "
        f"(paired 95% interval {points(low)} to {points(high)}, {p_value(paired['p_value'])}); "
        f"{points(paired['string_match']['difference'])} points under plain string match."
        f"{_power(paired, benchmark['n'])}{_seeds(benchmark['models'])}"
        f"{_formatting(paired, paired['string_match'])}{_unanswered(benchmark['models'], paired)}"
        f"{_unverified(benchmark['models'])}{_overlap(name, benchmark)}{_against_others(benchmark)}"
    )


def _power(paired: dict[str, Any], n: int) -> str:
    """Discordant problems, and what difference there would have to be to be found."""
    return (
        f" SSB did better on {paired['wins']:,} and worse on {paired['losses']:,} of {n:,} problems; this benchmark "
        f"could have shown a difference of {percent(paired['minimum_detectable_effect'])} points or more (at 80% "
        "power)."
    )


def _seeds(models: dict[str, Any]) -> str:
    """The spread over training seeds, where there are several."""
    if "seeds" not in models["ssb"]:
        return ""
    each = ", ".join(f"{percent(accuracy)}%" for accuracy in models["ssb"]["seeds"])
    return f" SSB is the mean of {len(models['ssb']['seeds'])} training seeds ({each}), which the interval includes."


def _against_others(benchmark: dict[str, Any]) -> str:
    """SSB beside every baseline."""
    found = ""
    for other in benchmark["models"]:
        if paired := benchmark["paired"].get(f"ssb-{other}") if other != "base" else None:
            noise = "distinguishable" if significant(paired) else "not distinguishable"
            found += (
                f" Against {other} ({percent(benchmark['models'][other]['accuracy'])}%): {_difference(paired)}, "
                f"{noise} from noise."
            )
    return found


def _unanswered(models: dict[str, Any], paired: dict[str, Any]) -> str:
    """What it means that the better of the two far more often states an answer at all, where it does."""
    base, student = (models[m]["no_answer"] for m in ("base", "ssb"))
    low, high = paired["ci95"]
    if (base - student) * paired["difference"] <= 0 or abs(base - student) <= (high - low) / 2:
        return ""
    return (
        f" {percent(base)}% of the base's samples state no answer in the form asked for, {percent(student)}% of "
        "SSB's: part of the difference is stating one."
    )


def _unverified(models: dict[str, Any]) -> str:
    if not any(score["unverified"] for score in models.values()):
        return ""
    rates = ", ".join(f"{percent(score['unverified'])}% of {name}'s" for name, score in models.items())
    return f" The verifier gave up on some answers, which count as not correct: {rates}."


def _overlap(name: str, benchmark: dict[str, Any]) -> str:
    told = contaminated(name, benchmark)
    return f" Warning: {told} A student may know them." if told else ""


def _formatting(ours: dict[str, Any], literal: dict[str, Any]) -> str:
    """What it means that the two differences disagree, where they do.

    An answer that matches literally is right, so what only one of them counts are right answers in another notation.
    """
    gap, (low, high) = literal["difference"] - ours["difference"], ours["ci95"]
    if abs(gap) > (high - low) / 2:
        return (
            f" The {percent(abs(gap))} points between the two are formatting: right answers in another notation than "
            f"the reference's, which SSB gives {'less' if gap > 0 else 'more'} often than its base."
        )
    if significant(ours) != significant(literal):
        return (
            " Part of this may be formatting: it is distinguishable from noise only where answers are compared "
            f"{'by their value' if significant(ours) else 'letter for letter'}."
        )
    return ""


def write(run: Run) -> Path:
    """Write report.html into the run's directory."""
    path = run.directory / "report.html"
    with atomic_write(path) as temporary:
        temporary.write_text(page(run), encoding="utf-8")
    return path


def page(run: Run) -> str:
    """The whole report."""
    return rendered(TEMPLATE, _content(run))


def rendered(template: str, content: dict[str, Any]) -> str:
    """A page from its template. Everything a model wrote is untrusted: the template escapes all it is given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(Path(__file__).parent / "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"duration": duration, "words": _words, "how_many": how_many, "decoding": decoding}
    environment.filters |= {"share": lambda x: "" if x is None else f"{percent(x)}%"}
    environment.filters |= {"mean": lambda x: "" if x is None else f"{x:,.1f}"}
    return environment.get_template(template).render(content)


def _content(run: Run) -> dict[str, Any]:
    """What the template shows."""
    summary = run.load_summary()
    config = queries.configuration(run)
    stories = problem_history.examples(run, STORIES)
    images = {name: base64.b64encode(png).decode() for name, png in draw_charts(run).items()}
    return {
        "summary": summary,
        "headline": verdict_in_words(summary),
        "results": results_table(summary),
        "breakdown": breakdown(summary),
        "funnel": queries.funnel(run),
        "reasons": problem_history.REASONS,
        "answer_forms": ANSWER_FORMS,
        "left_out": problems.rejections(config.problems),
        "left_out_of": {b.name: problems.rejections(b) for b in config.evaluate.benchmarks},
        "hint": heat_map(hint_effect.marked(run)),
        "images": images,
        "stories": [(s, problem_history.chapters(s)) for s in stories],
        "flipped": [(s, problem_history.chapters(s)) for s in problem_history.flipped(run)],
        "requests": run.load_stages(),
        "config": (run.directory / "config.yaml").read_text(encoding="utf-8"),
        "environment": run.load_environment(),
        "order": STAGES,
    }


def heat_map(marked: AnnotatedSolution | None) -> dict[str, Any] | None:
    """A solution with the heat of every token, 0 to ``len(HEAT)``, and the tokens that the hint changed most."""
    if marked is None:
        return None
    marks = [_hot(m) for m in marked.effects]
    return {
        "problem_id": marked.problem_id,
        "tokens": marked.tokens,
        "mean": marked.mean_kl,
        "steps": [f"below {HEAT[0]:g}", *(f"{nats:g}" for nats in HEAT)],
        "marks": marks,
        "largest": [m for m in heapq.nlargest(SINGLED_OUT, marks, key=itemgetter("nats")) if m["heat"]],
    }


def _hot(mark: TokenEffect) -> dict[str, Any]:
    """A token, its heat, and what changed in words; tokens are quoted as Python does, so that blanks show."""
    return {
        "text": mark.text,
        "nats": mark.kl,
        "heat": bisect(HEAT, mark.kl),
        "ends_line": "\n" in mark.text and not mark.text.strip(),
        "token": repr(mark.text),
        "kl": f"{mark.kl:.3f}",
        "raised": _shift(mark.raised),
        "lowered": _shift(mark.lowered),
    }


def _shift(shift: Shift) -> str:
    return f"{shift.text!r} {percent(shift.bare)}% → {percent(shift.hinted)}%"


def _words(name: str) -> str:
    return name.replace("_", " ")
