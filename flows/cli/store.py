"""The commands of ``ssb`` that look after a store: status, verify, gc."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import clean_errors
from .options import RunsOption, StoreOption, open_store

if TYPE_CHECKING:
    from rich.table import Table

    from ssb_core.runs.garbage import Garbage
    from ssb_core.runs.status import RunStatus, StageStatus


def status(store: StoreOption = "store", runs: RunsOption = Path("runs")) -> None:
    """Say what runs there are, how far they are and who is at work, and what the store holds. Reads the disk alone."""
    with clean_errors("interrupted"):
        from ssb_core.runs import status as overview

        from . import console

        held = open_store(store)
        found, stages = overview.runs(runs, held), list(overview.stages(held))
        for shown, where in ((_runs(found), runs), (_stages(stages), held)):
            console.console.print(shown if shown.row_count else f"nothing in {where} yet; start with: ssb run")


def verify(
    store: StoreOption = "store",
    repair: Annotated[
        bool, typer.Option("--repair", help="Set damaged files aside, so that the next run makes them again.")
    ] = False,
) -> None:
    """Read every file of a store against its checksum. The exit code is 1 if one is damaged or missing.

    Runs check sizes before they believe a result, and checksums whenever they read; this reads all of it.

    The last line counts what was read.
    """
    with clean_errors("interrupted; nothing is changed"):
        from ssb_core.doctor.checks import size
        from ssb_core.progress import Progress
        from ssb_core.results.wording import count
        from ssb_core.store import audit

        from . import console

        held = open_store(store)
        held.check(write=False)
        with console.progress(Progress()) as progress:
            found = audit.verify(held, progress)
        for finding in found.findings:
            print(f"{finding.path}: {finding.problem}")
        if repair:
            audit.set_aside(held, found.findings)
        left = f"; {count(found.leftovers, 'file')} set aside or left behind (ssb gc)" if found.leftovers else ""
        bad = f"{len(found.findings):,} damaged or missing" if found.findings else "all whole"
        remedy = (", set aside: the next run makes them again" if repair else "; --repair") if found.findings else ""
        print(
            f"{held}: read {count(found.manifests, 'manifest')}, {count(found.files, 'file')}, {size(found.bytes)}: "
            f"{bad}{remedy}{left}"
        )
        raise typer.Exit(1 if found.findings else 0)


def gc(
    runs: Annotated[
        list[Path] | None, typer.Option("--runs", help="Folders whose runs are kept. Give all of them. [default: runs]")
    ] = None,
    days: Annotated[float, typer.Option("--older-than", min=0, metavar="DAYS", help="Keep what is younger.")] = 7,
    delete: Annotated[bool, typer.Option("--delete", help="Delete it; without this, only say what would be.")] = False,
    store: StoreOption = "store",
) -> None:
    """Say which files of a store no run needs, and with --delete delete them.

    Kept are what the runs list, what that was made from, and all that an unfinished run has begun.

    Delete a run's folder first if you want its files to go.
    """
    with clean_errors("interrupted; what is deleted is deleted, the same command goes on"):
        from ssb_core.doctor.checks import size
        from ssb_core.errors import ConfigError
        from ssb_core.results.wording import count
        from ssb_core.runs import garbage

        from . import console

        folders = runs or [Path("runs")]
        for folder in folders:
            if not folder.is_dir():
                raise ConfigError(f"--runs {folder} is no folder\n  remedy: name the folders whose runs are to be kept")
        held = open_store(store)
        held.check(write=delete)
        found = list(garbage.find(held, folders, days))
        if found:
            console.console.print(_garbage(found))
        files, total = sum(len(g.names) for g in found), sum(g.bytes for g in found)
        if delete:
            print(f"{held}: deleted {count(garbage.delete(held, found), 'file')}, {size(total)}")
        else:
            print(f"{held}: {count(files, 'file')}, {size(total)} that no run needs" + ("; --delete" if files else ""))


def _table(*columns: str, right: tuple[str, ...] = ()) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def _runs(found: list[RunStatus]) -> Table:
    from rich.text import Text

    colours = {"finished": "green", "at work": "cyan", "unfinished": "yellow", "unreadable": "red"}
    table = _table("run", "state", "since", "what")
    for run in found:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.when))
        table.add_row(run.name, Text(run.state, style=colours[run.state]), when, run.told)
    return table


def _stages(found: list[StageStatus]) -> Table:
    from ssb_core.doctor.checks import size

    figures = ("recipes", "requests", "shards", "files", "size")
    table = _table("stage", *figures, "at work", right=figures)
    for s in found:
        numbers = (f"{n:,}" for n in (s.recipes, s.requests, s.shards, s.files))
        table.add_row(s.stage, *numbers, size(s.bytes), s.at_work)
    return table


def _garbage(found: list[Garbage]) -> Table:
    from ssb_core.doctor.checks import size

    figures = ("files", "size", "stay")
    table = _table("stage", "recipe", *figures, right=figures)
    for g in found:
        table.add_row(g.stage, g.recipe, f"{len(g.names):,}", size(g.bytes), f"{g.stay:,}")
    return table
