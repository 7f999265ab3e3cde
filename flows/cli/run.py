"""A run as the command line starts it: its environment, the flow, and what is told at the end."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import httpx

    from ssb_core.config import RunConfig


def start(
    settings: RunConfig,
    store: str,
    runs: Path,
    name: str | None,
    preset: str,
    from_stage: str,
    to_stage: str,
    force: list[str],
) -> dict[str, Any]:
    """Run the flow with this terminal listening."""
    environment_defaults()
    import httpx
    from prefect.client.base import ServerType, determine_server_type

    from ssb_core.config.execution import StageName
    from ssb_core.errors import StageError
    from ssb_core.progress import PlainProgress

    from ..ssb import listener, ssb
    from . import console

    if determine_server_type() == ServerType.EPHEMERAL:
        from ..server.temporary import Watched

        Watched()
    with console.progress(PlainProgress()) as progress:
        token = listener.set(progress)
        try:
            return ssb(
                from_stage=StageName(from_stage),
                to_stage=StageName(to_stage),
                force=tuple(map(StageName, force)),
                name=name,
                preset=preset,
                config=settings,
                store=store,
                runs=str(runs),
            )
        except httpx.TransportError as e:
            if not _of_prefect(e):
                raise
            raise StageError(
                f"the Prefect server cannot be reached any more ({e}); finished shards are kept\n"
                "  remedy: the same command goes on from there when it answers again, or without PREFECT_API_URL"
            ) from None
        finally:
            listener.reset(token)


def _of_prefect(error: httpx.TransportError) -> bool:
    import httpx
    from prefect.settings import get_current_settings

    url, asked = get_current_settings().api.url, getattr(error, "_request", None)
    if not url or asked is None:
        return False
    own = httpx.URL(str(url))
    return (own.host, own.port) == (asked.url.host, asked.url.port) and asked.url.path.startswith(own.path)


def environment_defaults() -> None:
    """Settings that suit a terminal, unless the user has set them; before torch and Prefect are imported."""
    # Threads that spin long while they wait make a run many times slower as soon as anything else wants a core.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")  # errors are told once, by us
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "90")
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    os.environ.setdefault("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30")  # as deployments/automations.yaml expects
    os.environ.setdefault("DO_NOT_TRACK", "1")


def _program() -> str:
    """How the user can call this program: by name if it is on the path."""
    return "ssb" if shutil.which("ssb") else os.path.relpath(sys.argv[0])


def tell(summary: dict[str, Any], directory: Path) -> None:
    """Results, where to read more, and what to do next."""
    from ssb_core import report as reports

    from . import console

    out = console.console
    out.print(console.yield_line(summary["yield"]))
    if summary["benchmarks"]:
        out.print(console.results(reports.results_table(summary)))
        out.print(reports.verdict_in_words(summary))
    statuses = ", ".join(f"{name} {s['status']}" for name, s in summary["stages"].items())
    out.print(f"\nstages   {statuses}; {summary['seconds']:.0f} s")
    out.print(f"report   {directory / 'report.html'}")
    out.print(f"numbers  {directory / 'summary.json'}")
    out.print(f"next     {_program()} show ID   tells one problem's story; ids are in the report")
