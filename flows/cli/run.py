"""``ssb run`` and ``ssb plan``: run the pipeline, or show what a run would do."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssb_core.config.execution import StageName

from . import environment
from .errors import clean_errors
from .options import (
    ConfigOption,
    ForceOption,
    FromOption,
    LimitOption,
    NameOption,
    PresetOption,
    RunsOption,
    SetOption,
    StoreOption,
    ToOption,
    load,
    open_store,
    preset_name,
)
from .report import print_summary

if TYPE_CHECKING:
    import httpx


def run(
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = None,
    from_stage: FromOption = StageName.rollouts,
    to_stage: ToOption = StageName.evaluate,
    force: ForceOption = None,
    name: NameOption = None,
    store: StoreOption = "store",
    runs: RunsOption = Path("runs"),
) -> None:
    """Run the pipeline, or continue it where it stopped.

    You can interrupt a run at any time. The same command continues from the
    last finished shard or checkpoint, and takes finished stages from the store.

    The stages are rollouts, select, teach, distill and evaluate. Some
    configurations need more: merge between rounds, and the baselines sft, rft,
    ssb-no-wrong and grpo.

    Examples:

      ssb run --preset quickstart
      ssb run --preset paper --set model.source=./my-model --limit 20
      ssb run --config mine.yaml --to teach
    """
    with clean_errors():
        from ssb_core.api import preflight
        from ssb_core.runs import Run

        settings = load(preset, config, overrides, limit)
        preflight.refuse_bad_stages(from_stage, to_stage, force or ())
        called = preset_name(preset, config)
        directory = runs / preflight.run_name(name, called, settings)
        opened = open_store(store)
        preflight.refuse_bad_input(settings, opened, directory, from_stage)
        _print_notes([preflight.headline(directory.name, settings, opened)])
        _print_notes(preflight.notes(settings, str(directory / "report.html"), to_stage))
        summary = _run_flow(
            from_stage=from_stage,
            to_stage=to_stage,
            force=tuple(force or ()),
            name=name,
            preset=called,
            config=settings,
            store=store,
            runs=str(runs),
        )
        print_summary(summary, Run(directory, opened))


def plan(
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = None,
    store: StoreOption = "store",
) -> None:
    """Show what a run would do, and change nothing.

    Each request of the run is cached, partial, missing or stale, and the table says why.

    Example:

      ssb plan --preset quickstart --set rollouts.samples=8
    """
    with clean_errors():
        from ssb_core.api import preflight
        from ssb_core.runs import plan as plans
        from ssb_core.runs.pipeline import Pipeline

        from . import console

        settings = load(preset, config, overrides, limit)
        opened = open_store(store)
        rows = plans.plan(Pipeline.of(settings, opened.root), opened)
        console.console.print(console.plan_table(rows))
        _print_notes(preflight.notes(settings, "the run's report.html"))


def _run_flow(**parameters: Any) -> dict[str, Any]:
    """Call the flow `ssb` with its parameters, and show its progress in this terminal. Returns the run's summary.

    Raises:
        StageError: the Prefect server no longer answers.
    """
    environment.set_defaults()
    import httpx
    from prefect.client.base import ServerType, determine_server_type

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
            summary: dict[str, Any] = ssb(**parameters)
            return summary
        except httpx.TransportError as e:
            if not _is_about_prefect(e):
                raise
            raise StageError(
                f"the Prefect server no longer answers ({e}); finished shards are kept\n"
                "  remedy: run the same command when it answers again, or without PREFECT_API_URL"
            ) from None
        finally:
            listener.reset(token)


def _is_about_prefect(error: httpx.TransportError) -> bool:
    """Whether the failed request went to Prefect's API."""
    import httpx
    from prefect.settings import get_current_settings

    api, request = get_current_settings().api.url, getattr(error, "_request", None)
    if not api or request is None:
        return False
    url = httpx.URL(str(api))
    return (url.host, url.port) == (request.url.host, request.url.port) and request.url.path.startswith(url.path)


def _print_notes(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
