"""How the end of a run is shown: where everything lies, and what each stage took."""

from ssb_core.report.markdown import code, escaped, table
from ssb_core.results.wording import duration
from ssb_core.runs import Run

from ..artifacts import Page


def page(run: Run) -> Page:
    """The run's files by their paths, for a browser opens no file from a page of the UI; and its stages."""
    path, store = run.directory.absolute(), run.store.root.absolute()
    files = {
        "The report, one self-contained file": path / "report.html",
        "The same numbers for programs": path / "summary.json",
        "The complete configuration": path / "config.yaml",
        "Rollouts, solutions, signal, students": store,
    }
    lines = "\n".join(f"- {what}: {code(str(where))}" for what, where in files.items())
    body = (
        f"# Report\n\nOn the machine that made the run:\n\n{lines}\n\nA browser there opens {code(files_uri(run))}; "
        f"a page of this UI may not.\n\n## What each stage took\n\n{table(_stages(run))}"
    )
    return Page("ssb-7-report", f"report.html and all files of {escaped(run.name)}", body)


def files_uri(run: Run) -> str:
    return (run.directory.absolute() / "report.html").as_uri()


def _stages(run: Run) -> list[dict[str, str]]:
    return [
        {
            "stage": name,
            "in this run": stage["status"],
            "time": duration(stage["seconds"]),
            "shards or steps": f"{stage['shards']:,}",
            "of them reused": f"{stage['shards_reused']:,}",
            "rows": f"{stage['rows']:,}",
            "tokens": f"{stage['tokens']:,}" if "tokens" in stage else "",
        }
        for name, stage in run.load_summary()["stages"].items()
    ]
