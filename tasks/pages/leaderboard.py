"""The artifact page ``ssb-leaderboard-<name>``: the results of this run beside those of earlier runs."""

import re

from prefect.runtime import deployment

from ssb_core.report import leaderboard
from ssb_core.report.markdown import escaped
from ssb_core.runs import Run

from ..artifacts import Page, short_timeout


def page(run: Run) -> Page | None:
    """The runs of this deployment, or of this preset if the run is local. None if nothing was evaluated.

    Each run publishes one version of this page.
    """
    if not run.load_summary()["benchmarks"]:
        return None
    with short_timeout():  # the deployment's name is read from the API
        name = deployment.name or run.load_summary()["preset"]
    key = f"ssb-leaderboard-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
    description = f"{escaped(name)}: the latest run first, then the best results of earlier runs"
    return Page(key, description, leaderboard.rows(run))
