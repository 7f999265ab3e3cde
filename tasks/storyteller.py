"""The pages of a run in the Prefect UI, and the order in which they are published.

    ssb-0-plan                the plan: what is cached already and what the run will make, before any work
    ssb-1-rollouts            samples and tokens, by wave
    ssb-2-selection           how many problems are left after each step, and two pairs
    ssb-3-solution            a taught solution and the rollouts that it was written from
    ssb-4-signal              the size and exactness of the captured signal
    ssb-5-training[-grpo]     training curves
    ssb-6-results             the verdict, the table and the plots
    ssb-7-report              where the files are, and the time of each stage
    ssb-leaderboard-<name>    the same results beside those of earlier runs, by deployment or preset

A page is published as soon as it has content, and updated by later waves. Pages of cached requests are published
together with those of the next request that is not cached. A run that fails has published everything it finished. An
error while a page is made or published is a warning. The UI lists the artifacts of a run in no order, so the first page
has links to the others.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from prefect import get_run_logger

from ssb_core import models
from ssb_core.results import summary
from ssb_core.runs import Run, StageRun
from ssb_core.runs.pipeline import Pipeline
from ssb_core.runs.plan import plan
from ssb_core.stages import Spec

from .artifacts import Page, Publisher
from .pages import grpo, leaderboard, results, rollouts, selection, signal, solution, training
from .pages import plan as plan_page
from .pages import report as report_page

MakePage = Callable[[], Page | None]

PAGES: dict[str, tuple[Callable[[Run], Page | None], ...]] = {
    "rollouts": (rollouts.page,),
    "select": (selection.page,),
    "teach": (selection.page, solution.page, signal.page),
    "distill": (selection.page, training.page),
    "grpo": (grpo.page,),
}
"""The pages that a finished request of each stage adds or changes."""


class Storyteller:
    """Publishes the pages of one run. The run notes its finished requests before each call."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.publisher = Publisher()
        self.pages: dict[str, Page] = {}
        self.due: dict[Any, MakePage] = {}

    def on_step(self, specs: Sequence[Spec], stage_runs: Sequence[StageRun]) -> None:
        """Publish the pages that the last request changes, or only note them if it was cached."""
        store, last = self.run.store, specs[-1]
        if last.stage == "evaluate":
            self.due[results.page] = lambda: results.page(summary.benchmark_results(store, specs), {})
        elif last.round == 1:  # the results show the later rounds
            self.due |= {page: partial(self._read, page) for page in PAGES.get(last.stage, ())}
        if stage_runs[-1].status != "cached":
            self.publish()

    def end(self) -> None:
        """Publish the results with all charts, the leaderboard, and the page with the paths of the files."""
        self.due[results.page] = partial(results.final_page, self.run)
        self.due |= {page: partial(page, self.run) for page in (leaderboard.page, report_page.page)}
        self.publish()

    def publish(self) -> None:
        """Make and publish the pages that are due. If some are new, the first page gets links to them."""
        made, before = [], set(self.publisher.published)
        for make in self.due.values():
            try:
                made.append(make())
            except Exception as e:  # a run must not fail because of its pages
                get_run_logger().warning("a page of the run could not be made: %s: %s", type(e).__name__, e)
        self.due.clear()
        self.pages |= {page.key: page for page in made if page}
        self.publisher.publish(page for page in made if page)
        if set(self.publisher.published) - before - {plan_page.KEY} and plan_page.KEY in self.pages:
            self.publisher.publish([self._with_links()])

    def _read(self, page: Callable[[Run], Page | None]) -> Page | None:
        """A page from the run's files, which are those of a draft until the run is finished."""
        return page(self.run.newest())

    def _with_links(self) -> Page:
        """The first page with links to the others in their order, which the UI does not keep.

        A link from one artifact's page to another's is the same wherever the UI is served.
        """
        first, ids = self.pages[plan_page.KEY], self.publisher.published
        links = [f"- [{key}](./{ids[key]}): {self.pages[key].description}" for key in sorted(ids) if key != first.key]
        return replace(first, body="\n".join(("## Results so far\n", *links, "", str(first.body))))


@contextmanager
def publishing(run: Run, pipeline: Pipeline, force: Collection[str], to_stage: str) -> Iterator[Storyteller]:
    """Publish the plan, and after the block, however it ends, the pages that are still due."""
    storyteller = Storyteller(run)
    load_shape = partial(models.shape, pipeline.model)  # `preflight` has loaded it, unless all is cached
    storyteller.due[plan_page.page] = lambda: plan_page.page(
        run.name, pipeline.config, plan(pipeline, run.store, load_shape=load_shape, stop=to_stage, force=force)
    )
    storyteller.publish()
    try:
        yield storyteller
    finally:
        storyteller.publish()
