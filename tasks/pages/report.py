"""The artifact page ``ssb-7-report``: the paths of the run's files, and the time of each stage."""

from ssb_core.report.markdown import code, escaped, table
from ssb_core.results.wording import duration
from ssb_core.runs import Run

from ..artifacts import Page


def page(run: Run) -> Page:
    """The paths of the run's files, and a table of its stages. A browser opens no file from the UI."""
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
        f"All results took {duration(making['seconds'])} and {making['tokens']:,} sampled tokens to make, in this run "
        "and in the earlier ones whose results it uses."
    )
    body = (
        f"# Report\n\nOn the machine of the run:\n\n{lines}\n\nA browser there opens {code(report_uri(run))}; "
        f"a page of this UI cannot link to it.\n\n## Time of each stage\n\n{cost}\n\n{table(_stages(run))}"
    )
    return Page("ssb-7-report", f"report.html and all files of {escaped(run.name)}", body)


def report_uri(run: Run) -> str:
    """The ``file://`` URI of report.html."""
    return (run.directory.absolute() / "report.html").as_uri()


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
