"""``ssb run``: run the pipeline, or continue it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ssb_core.config.execution import StageName

from . import environment
from .errors import clean_errors
from .options import (
    ConfigOption,
    DryRunOption,
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
from .plan import print_plan
from .report import print_summary


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
    dry_run: DryRunOption = False,
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
        if dry_run:
            print_plan(settings, store, from_stage, to_stage, force or ())
            preflight.refuse_unwritable_run(directory)
            return
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


def _run_flow(**parameters: Any) -> dict[str, Any]:
    """Call the flow `ssb` with its parameters, and show its progress in this terminal. Returns the run's summary.

    Raises:
        StageError: the Prefect server no longer answers.
    """
    environment.set_defaults()
    from prefect.client.base import ServerType, determine_server_type
    from prefect.settings import get_current_settings

    from ssb_core.errors import StageError
    from ssb_core.progress import PlainProgress

    from ..server import lost
    from ..ssb import listener, ssb
    from . import console

    api = get_current_settings().api.url
    server = None
    if determine_server_type() == ServerType.EPHEMERAL:
        from ..server.temporary import Watched

        server = Watched()
    with console.progress(PlainProgress()) as progress:
        token = listener.set(progress)
        try:
            summary: dict[str, Any] = ssb(**parameters)
            return summary
        except Exception as e:
            why = lost.reason(e, str(api or (server and server.api_url)))
            if why is None:
                raise
            remedy = "or without PREFECT_API_URL" if api else "which starts another"
            raise StageError(
                f"the Prefect server no longer answers ({why}); finished shards are kept\n"
                f"  remedy: run the same command when it answers again, {remedy}"
            ) from None
        finally:
            listener.reset(token)


def _print_notes(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, file=sys.stderr)
