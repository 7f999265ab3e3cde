"""The artifact page ``ssb-3-solution``: a taught solution."""

from ssb_core.report.markdown import code, fenced
from ssb_core.report.problem_history import describe_completion
from ssb_core.results.problem_history import load_examples
from ssb_core.runs import Run

from ..artifacts import Page
from . import selection


def page(run: Run) -> Page | None:
    """The first taught solution, below the two rollouts that it was written from. None before anything is taught."""
    for history in load_examples(run, 1):
        assert history.trace
        caption = describe_completion(history.trace, history.trace.verdict).caption
        parts = [
            f"# A taught solution: {code(history.problem.id)}",
            selection.pair(history),
            "The teacher saw both rollouts and wrote this solution, which never mentions them. Its answer was verified "
            f"again: {code(caption)}.",
            fenced(history.trace.text),
        ]
        return Page("ssb-3-solution", "A taught solution and the rollouts that it was written from", "\n\n".join(parts))
    return None
