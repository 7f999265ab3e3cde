"""A run as a story in the Prefect UI: which page is published when.

    ssb-0-plan                what the run will do and what is there already, before any work
    ssb-1-rollouts            what was sampled, by wave
    ssb-2-selection           what became of the problems, and two pairs
    ssb-3-solution            a taught solution and the rollouts that it was written from
    ssb-4-signal              what was captured of the teacher, and how exact it is
    ssb-5-training[-grpo]     training curves
    ssb-6-results             the verdict, the table and the plots
    ssb-7-report              where everything lies, and what each stage took
    ssb-leaderboard-<name>    the same results beside those of earlier runs, by deployment or preset

Each page is published as soon as there is something to tell, and brought up to date by later waves; what is cached is
told with the next stage that is not. A run that fails has told what it finished. What goes wrong in telling is a
warning. The UI lists a run's artifacts in no order, so the first has links to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from prefect import get_run_logger

from ssb_core.results import summary
from ssb_core.runs import Run, StageRun
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import plan
from ssb_core.stages import Spec

from .artifacts import Page, Publisher
from .pages import grpo, leaderboard, results, rollouts, selection, signal, solution, training
from .pages import plan as plan_page
from .pages import report as report_page

Telling = Callable[[], Page | None]

CHAPTERS: dict[str, tuple[Callable[[Run], Page | None], ...]] = {
    "rollouts": (rollouts.page,),
    "select": (selection.page,),
    "teach": (selection.page, solution.page, signal.page),
    "distill": (selection.page, training.page),
    "grpo": (grpo.page,),
}
"""What the end of a request of each stage adds to the story, or changes in it."""


class Storyteller:
    """Tells one run, which notes what it did (`Run.note`) before each call."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.publisher = Publisher()
        self.pages: dict[str, Page] = {}
        self.untold: dict[Any, Telling] = {}

    def go_on(self, specs: Sequence[Spec], ran: Sequence[StageRun]) -> None:
        """What the last of the finished requests brought; of cached ones later, together with what comes next."""
        run, last = self.run, specs[-1]
        if last.stage == "evaluate":
            self.untold[results.page] = lambda: results.page(summary.benchmark_results(run.store, specs), {})
        elif last.round == 1:  # later rounds are told with the results
            self.untold |= {page: partial(page, run) for page in CHAPTERS.get(last.stage, ())}
        if ran[-1].status != "cached":
            self.tell()

    def end(self) -> None:
        """The results with all charts, the leaderboard, and where everything lies."""
        self.untold[results.page] = partial(results.final_page, self.run)
        self.untold |= {page: partial(page, self.run) for page in (leaderboard.page, report_page.page)}
        self.tell()

    def tell(self) -> None:
        """Publish what is left to tell; of new pages the first one gets links."""
        made, before = [], set(self.publisher.published)
        for page in self.untold.values():
            try:
                made.append(page())
            except Exception as e:  # the run matters, what is told of it does not
                get_run_logger().warning("a page of the story could not be made: %s: %s", type(e).__name__, e)
        self.untold.clear()
        self.pages |= {page.key: page for page in made if page}
        self.publisher.publish(page for page in made if page)
        if set(self.publisher.published) - before - {plan_page.KEY} and plan_page.KEY in self.pages:
            self.publisher.publish([self._contents()])

    def _contents(self) -> Page:
        """The first page with links to the others in their order, in which the UI does not list them.

        A link from one artifact's page to another's is the same wherever the UI is served.
        """
        first, ids = self.pages[plan_page.KEY], self.publisher.published
        links = [f"- [{key}](./{ids[key]}): {self.pages[key].description}" for key in sorted(ids) if key != first.key]
        return replace(first, body="\n".join(("## What came of it\n", *links, "", str(first.body))))


@contextmanager
def telling(run: Run, pipeline: Pipeline, force: Collection[str], to_stage: str) -> Iterator[Storyteller]:
    """Tell the plan, what happens in the block, and, however it ends, what is left to tell."""
    teller = Storyteller(run)
    teller.untold[plan_page.page] = lambda: plan_page.page(
        run.name, pipeline.config, plan(pipeline, run.store), force, to_stage
    )
    teller.tell()
    try:
        yield teller
    finally:
        teller.tell()
