"""Artifact page of select: the funnel of problems, and two pairs."""

from ssb_core.report import charts
from ssb_core.report.markdown import beside, code, fenced, picture, table
from ssb_core.report.problem_history import REASONS, describe_completion, sections
from ssb_core.results import queries
from ssb_core.results.problem_history import ProblemHistory, load_examples
from ssb_core.results.wording import percent
from ssb_core.runs import Run

from ..artifacts import Page

PAIRS = 2


def page(run: Run) -> Page:
    """The funnel from the problems asked, as far as it is known, and the first pairs."""
    steps = queries.load_funnel(run)
    whole = steps[0].kept
    told = ", ".join(f"{s.kept:,} {s.name} ({percent(s.kept / whole if whole else 0)}%)" for s in steps[1:])
    parts = ["# Selection", table(_lines(steps))]
    if figure := charts.draw_funnel(run):
        parts.append(picture("yield", charts.png(figure)))
    pairs = load_examples(run, PAIRS, "select")
    parts += [f"## A pair: {code(told.problem.id)}\n\n{pair(told)}" for told in pairs]
    return Page("ssb-2-selection", f"{whole:,} asked, {told}", "\n\n".join(parts))


def _lines(steps: list[queries.FunnelStep]) -> list[dict[str, str]]:
    """What each step kept in bold, and below it what it dropped and why."""
    whole, lines = max(1, steps[0].kept), []
    for step in steps:
        lines.append((f"**{step.name}**", step.kept, ""))
        lines += [(f"dropped: {r.replace('_', ' ')}", n, REASONS[r]) for r, n in step.dropped.items()]
    return [
        {"problems": name, "count": f"{n:,}", "of those asked": f"{percent(n / whole)}%", "because": why}
        for name, n, why in lines
    ]


def pair(told: ProblemHistory) -> str:
    """The question, how its rollouts came out, and the two that the teacher is shown beside each other."""
    chosen = told.selection
    assert chosen and chosen.correct is not None and chosen.wrong is not None
    problem, (rolled, *_) = told.problem, sections(told)
    asked = f"{problem.question}\n\nReference answer: {problem.answer}\nRollouts: {rolled.outcome}"
    answers = [describe_completion(told.rollouts[i], chosen.verdicts[i], i) for i in (chosen.correct, chosen.wrong)]
    return f"{fenced(asked)}\n\n{beside({a.caption: a.text for a in answers})}"
