"""The artifact page ``ssb-7-report``: the run's files, and the time of each stage."""

import os
from pathlib import Path
from urllib.parse import quote

from ssb_core.report.markdown import code, escaped, table
from ssb_core.results.wording import duration
from ssb_core.runs import Run

from ..artifacts import Page

RUNS_URL = "SSB_RUNS_URL"
"""The environment variable with the address at which the folder ``runs`` of SSB_HOME is served, if it is."""


def page(run: Run) -> Page:
    """A link to the report or its path, the paths of the run's files, and a table of its stages."""
    directory, store = run.directory.absolute(), run.store.root.absolute()
    files = {
        "The report, one self-contained file": directory / "report.html",
        "The same numbers for programs": directory / "summary.json",
        "The complete configuration": directory / "config.yaml",
        "Rollouts, solutions, signal, students": store,
    }
    lines = "\n".join(f"- {content}: {code(str(path))}" for content, path in files.items())
    making = run.load_summary()["making"]
    cost = (
        f"Its stages took {duration(making['seconds'])} and {making['tokens']:,} sampled tokens, in this run "
        "and in the earlier ones whose results it uses."
    )
    parts = ["# Report", _way_to_report(run), "Files on the machine of the run:", lines, "## Time of each stage", cost]
    body = "\n\n".join([*parts, table(_stages(run))])
    return Page("ssb-7-report", f"report.html and all files of {escaped(run.name)}", body)


def _way_to_report(run: Run) -> str:
    """A link, if a server has the folder of the run; else the address of the file, which this UI cannot link to."""
    url, home = os.environ.get(RUNS_URL), os.environ.get("SSB_HOME")
    if url and home and run.directory.parent.resolve() == Path(home, "runs").resolve():
        address = f"{url.rstrip('/')}/{quote(run.name, safe='')}"
        return f"**[Open the report]({address}/report.html)** · [its numbers]({address}/summary.json)"
    file = (run.directory.absolute() / "report.html").as_uri()
    return f"A browser on the machine of the run opens {code(file)}; a page of this UI cannot link to it."


def _stages(run: Run) -> list[dict[str, str]]:
    return [
        {
            "stage": name,
            "in this run": stage["status"],
            "time in this run": duration(stage["seconds"]),
            "time to make it": duration(stage["making_seconds"]),
            "shards or steps": f"{stage['shards']:,}",
            "of them reused": f"{stage['shards_reused']:,}",
            "rows": f"{stage['rows']:,}",
            "tokens": f"{stage['tokens']:,}" if "tokens" in stage else "",
        }
        for name, stage in run.load_summary()["stages"].items()
    ]
