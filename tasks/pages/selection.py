"""The artifact page ``ssb-2-selection``: the yield of the pipeline so far, and two pairs."""

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
    """The number of problems that each step kept and dropped so far, and the first pairs."""
    steps = queries.load_funnel(run)
    total = steps[0].kept
    kept = ", ".join(f"{s.kept:,} {s.name} ({percent(s.kept / total if total else 0)}%)" for s in steps[1:])
    parts = ["# Selection", table(_step_rows(steps))]
    if chart := charts.draw_funnel(run):
        parts.append(picture("yield", charts.png(chart)))
    histories = load_examples(run, PAIRS, "select")
    parts += [f"## A pair: {code(history.problem.id)}\n\n{pair(history)}" for history in histories]
    return Page("ssb-2-selection", f"{total:,} problems, {kept}", "\n\n".join(parts))


def _step_rows(steps: list[queries.FunnelStep]) -> list[dict[str, str]]:
    """Each step in bold with the problems that it kept, and below it those that it dropped, with the reason."""
    total, rows = max(1, steps[0].kept), []
    for step in steps:
        rows.append((f"**{step.name}**", step.kept, ""))
        rows += [(f"dropped: {r.replace('_', ' ')}", n, REASONS[r]) for r, n in step.dropped.items()]
    return [
        {"problems": name, "count": f"{n:,}", "share": f"{percent(n / total)}%", "because": reason}
        for name, n, reason in rows
    ]


def pair(history: ProblemHistory) -> str:
    """The question with the outcome of its rollouts, and the correct and the wrong rollout side by side."""
    selection = history.selection
    assert selection and selection.correct is not None and selection.wrong is not None
    problem, (rollouts, *_) = history.problem, sections(history)
    question = f"{problem.question}\n\nReference answer: {problem.answer}\nRollouts: {rollouts.outcome}"
    answers = [
        describe_completion(history.rollouts[i], selection.verdicts[i], i) for i in (selection.correct, selection.wrong)
    ]
    return f"{fenced(question)}\n\n{beside({a.caption: a.text for a in answers})}"
