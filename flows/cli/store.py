"""``ssb status``, ``ssb verify`` and ``ssb gc``: list, check and clean a store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from .errors import clean_errors
from .options import RunsOption, StoreOption, open_store

if TYPE_CHECKING:
    from rich.table import Table

    from ssb_core.runs.garbage import Garbage
    from ssb_core.runs.status import RunStatus, StageStatus


def status(store: StoreOption = "store", runs: RunsOption = Path("runs")) -> None:
    """List the runs with their progress, and what the store has of each stage.

    The command only reads files. It shows how far the runs at work are, why runs
    failed, and which process makes which stage now.

    Example:

      ssb status
    """
    with clean_errors("interrupted"):
        from ssb_core.runs import status as statuses

        from .console import console

        opened = open_store(store)
        run_rows, stage_rows = statuses.runs(runs, opened), list(statuses.stages(opened))
        for table, place in ((_run_table(run_rows), runs), (_stage_table(stage_rows), opened)):
            console.print(
                table if table.row_count else f"nothing in {place} yet; start with: ssb run --preset quickstart"
            )


def verify(
    store: StoreOption = "store",
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside, so that the next run makes them again.")
    ] = False,
) -> None:
    """Read every file of a store and compare it with its checksum.

    A run compares sizes before it reuses a result, and checksums when it reads
    one. This command reads everything. The exit code is 1 if a file is damaged
    or missing.

    Examples:

      ssb verify
      ssb verify --repair
    """
    with clean_errors("interrupted; nothing is changed"):
        from ssb_core.progress import Progress
        from ssb_core.results.wording import count, size
        from ssb_core.store import audit

        from . import console

        opened = open_store(store)
        opened.check(write=False)
        with console.progress(Progress()) as progress:
            result = audit.verify(opened, progress)
        for finding in result.findings:
            print(f"{finding.path}: {finding.problem}")
        if repair:
            audit.set_aside(opened, result.findings)
        left = f"; {count(result.leftovers, 'file')} set aside or left behind (ssb gc)" if result.leftovers else ""
        bad = f"{len(result.findings):,} damaged or missing" if result.findings else "all whole"
        remedy = (", set aside: the next run makes them again" if repair else "; --repair") if result.findings else ""
        print(
            f"{opened}: read {count(result.manifests, 'manifest')}, {count(result.files, 'file')}, "
            f"{size(result.bytes)}: {bad}{remedy}{left}"
        )
        raise typer.Exit(1 if result.findings else 0)


def gc(
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            "--runs", metavar="DIR", show_default="runs", help="Keep what the runs in DIR need. Repeatable: name all."
        ),
    ] = None,
    days: Annotated[
        float, typer.Option("--older-than", min=0, metavar="DAYS", help="Keep files that are younger than DAYS.")
    ] = 7,
    delete: Annotated[bool, typer.Option("--delete", help="Delete the files instead of listing them.")] = False,
    store: StoreOption = "store",
) -> None:
    """List the files of a store that no run needs, and delete them with --delete.

    A file is kept if a run lists it, if such a file was made from it, or if an
    unfinished run began it. To delete the files of a run, delete its folder
    first.

    Examples:

      ssb gc
      ssb gc --older-than 30 --delete
    """
    with clean_errors("interrupted; the same command deletes the other files"):
        from ssb_core.errors import ConfigError
        from ssb_core.results.wording import count, size
        from ssb_core.runs import garbage

        from .console import console

        folders = runs or [Path("runs")]
        for folder in folders:
            if not folder.is_dir():
                raise ConfigError(
                    f"--runs {folder} is not a folder\n  remedy: name the folders whose runs are to be kept"
                )
        opened = open_store(store)
        opened.check(write=delete)
        unneeded = list(garbage.find(opened, folders, days))
        if unneeded:
            console.print(_garbage_table(unneeded))
        files, total = sum(len(g.names) for g in unneeded), sum(g.bytes for g in unneeded)
        if delete:
            print(f"{opened}: deleted {count(garbage.delete(opened, unneeded), 'file')}, {size(total)}")
        else:
            hint = "; --delete" if files else ""
            print(f"{opened}: {count(files, 'file')}, {size(total)} that no run needs{hint}")


def _table(*columns: str, right: tuple[str, ...] = (), text: str = "") -> Table:
    """A table whose column `text` wraps; all others stay whole."""
    from .console import new_table

    table = new_table()
    for column in columns:
        justify: Literal["left", "right"] = "right" if column in right else "left"
        table.add_column(column, justify=justify, no_wrap=column != text, overflow="fold")
    return table


def _run_table(rows: list[RunStatus]) -> Table:
    from rich.text import Text

    colours = {"finished": "green", "at work": "cyan", "failed": "red", "unfinished": "yellow", "unreadable": "red"}
    table = _table("run", "state", "since", "what", text="what")
    for run in rows:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.when))
        table.add_row(run.name, Text(run.state, style=colours[run.state]), when, run.detail)
    return table


def _stage_table(rows: list[StageStatus]) -> Table:
    from ssb_core.results.wording import size

    numbers = ("recipes", "requests", "shards", "files", "size")
    table = _table("stage", *numbers, "at work", right=numbers, text="at work")
    for s in rows:
        counts = (f"{n:,}" for n in (s.recipes, s.requests, s.shards, s.files))
        table.add_row(s.stage, *counts, size(s.bytes), s.at_work)
    return table


def _garbage_table(rows: list[Garbage]) -> Table:
    from ssb_core.results.wording import size

    numbers = ("files", "size", "stay")
    table = _table("stage", "recipe", *numbers, right=numbers)
    for g in rows:
        table.add_row(g.stage, g.recipe, f"{len(g.names):,}", size(g.bytes), f"{g.stay:,}")
    return table
