"""All commands of ``ssb``, grouped as ``ssb --help`` shows them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from .chat import chat
from .commands import Commands
from .compare import compare
from .config import config, presets
from .doctor import doctor
from .evaluate import evaluate
from .export import export
from .grade import grade
from .plan import plan
from .prefect import deploy, parameters, serve_local
from .report import report, show
from .run import run
from .runs import runs
from .signal import signal
from .store import gc, status, verify

COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Run the pipeline": (run, plan, doctor),
    "Configure a run": (config, presets),
    "Look at runs": (runs, report, show, compare, signal),
    "Use the results": (evaluate, chat, export, grade),
    "Look after the store": (status, verify, gc),
    "Run on a Prefect server": (serve_local, deploy, parameters),
}

app = typer.Typer(
    name="ssb",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)


def _print_version(requested: bool) -> None:
    if requested:
        from importlib.metadata import version

        print(f"ssb {version('ssb')}")
        raise typer.Exit


@app.callback()
def ssb(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Semantic Soft Bootstrapping makes a language model better at problems with checkable answers, without
    reinforcement learning.

    Try it on a small embedded model, in about two minutes on a CPU:

      ssb run --preset quickstart

    Every command explains itself: ssb COMMAND --help
    """
