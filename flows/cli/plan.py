"""``ssb plan`` and ``ssb run --dry-run``: what a run would do, what that takes, and what would prevent it."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from typing import TYPE_CHECKING, Annotated

import typer

from .errors import clean_errors
from .options import ConfigOption, LimitOption, PresetOption, SetOption, StoreOption, load, open_store

if TYPE_CHECKING:
    from ssb_core.api.plan import CheckedPlan
    from ssb_core.config import RunConfig

JsonOption = Annotated[bool, typer.Option("--json", help="Print the plan as JSON, for programs.")]


def plan(
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = None,
    store: StoreOption = "store",
    as_json: JsonOption = False,
) -> None:
    """Show what a run would do and what it would take, and change nothing.

    Each request of the run is cached, partial, missing or stale, with the
    reason. For what is left to do, the plan estimates samples, tokens, time and
    disk from earlier results in the store.

    The exit code is 2 if a run would be refused or fail, for reasons that
    ssb doctor would give too.

    Examples:

      ssb plan --preset quickstart --set rollouts.samples=8
      ssb plan --config mine.yaml --json
    """
    with clean_errors():
        print_plan(load(preset, config, overrides, limit), store, as_json=as_json)


def print_plan(
    settings: RunConfig,
    store: str,
    start: str = "rollouts",
    stop: str = "evaluate",
    force: Collection[str] = (),
    as_json: bool = False,
) -> None:
    """Print the plan of a run from stage `start` to `stop`, then warnings and problems on stderr.

    Raises:
        ConfigError: the input cannot be read, or a stage before `start` is not in the store.
        typer.Exit: something would prevent the run (exit code 2).
    """
    from ssb_core.api import preflight
    from ssb_core.api.plan import checked_plan
    from ssb_core.results import plan_wording

    from . import console

    opened = open_store(store)
    checked = checked_plan(settings, opened, stop, force)
    if as_json:
        problems = [{"name": c.name, "message": c.message, "remedy": c.remedy} for c in checked.problems]
        print(json.dumps(plan_wording.as_json(checked.rows) | {"problems": problems}, indent=2))
    else:
        console.print_plan(checked.rows)
    for line in preflight.notes(settings, "the run's report.html", stop):
        print(line, file=sys.stderr)
    _print_checks(checked)
    preflight.refuse_missing(checked.rows, opened, start)
    if checked.problems:
        raise typer.Exit(2)


def _print_checks(checked: CheckedPlan) -> None:
    """The checks that did not pass, the problems last."""
    for check in sorted(checked.checks, key=lambda c: c.status == "problem"):
        remedy = f"\n  remedy: {check.remedy}" if check.remedy else ""
        print(f"{check.status}: {check.name}: {check.message}{remedy}", file=sys.stderr)
