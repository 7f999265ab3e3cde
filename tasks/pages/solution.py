"""The artifact page ``ssb-3-solution``: a taught solution."""

from ssb_core.report.markdown import code, fenced
from ssb_core.results import problem_history
from ssb_core.runs import Run

from ..artifacts import Page
from . import selection


def page(run: Run) -> Page | None:
    """The first taught solution, below the two rollouts that it was written from. None before anything is taught."""
    for history in problem_history.examples(run, 1):
        assert history.trace
        caption = problem_history.answer(history.trace, history.trace.verdict).caption
        parts = [
            f"# A taught solution: {code(history.problem.id)}",
            selection.pair(history),
            "The teacher saw both rollouts and wrote this solution, which never mentions them. Its answer was verified "
            f"again: {code(caption)}.",
            fenced(history.trace.text),
        ]
        return Page("ssb-3-solution", "A taught solution and the rollouts that it was written from", "\n\n".join(parts))
    return None
