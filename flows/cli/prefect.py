"""The commands of ``ssb`` for those who run it on a Prefect server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ssb_core.config.execution import StageName

from ssb_core.api import preflight
from .errors import clean_errors
from .options import ConfigOption, LimitOption, NameOption, PoolTypeName, PresetOption, SetOption, load


def serve_local(
    home: Annotated[
        Path, typer.Option("--home", envvar="SSB_HOME", help="Where store, runs and data files of every run lie.")
    ] = Path("."),
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where server and UI listen.")] = 4200,
    host: Annotated[
        str, typer.Option(help="Its address. Whoever reaches it can do everything: see PREFECT_SERVER_API_AUTH_STRING.")
    ] = "127.0.0.1",
) -> None:
    """Serve everything on this machine: Prefect server with UI, work pools, deployments, and a worker for each GPU.

    Ctrl-C stops it all. Start it as often as you like: what is there already is used.

    Then, in another terminal,

    prefect deployment run ssb/quickstart --watch

    with the PREFECT_API_URL that it prints.
    """
    from ..server import serve_local as serving

    with clean_errors("stopped; runs go on from their last shard when they are started again"):
        try:
            serving.serve(home, host, port, _say)
        except serving.Ended as e:
            print(f"error: {e}", file=sys.stderr)
            raise typer.Exit(1) from None


def deploy(
    pool_type: Annotated[
        PoolTypeName, typer.Option(help="What the pool gpu runs: processes, or containers by its job template.")
    ] = PoolTypeName.process,
    gpus: Annotated[int, typer.Option(min=1, help="Runs that the pool gpu allows at once: its number of GPUs.")] = 1,
) -> None:
    """Create work pools, automations and deployments on the server that PREFECT_API_URL names.

    Do it again after an upgrade: deployments and automations are renewed, pools keep what you changed in them.

    Start workers then, one for each GPU, with the folder for store and runs:

    SSB_HOME=/data/ssb CUDA_VISIBLE_DEVICES=0 prefect worker start --pool gpu --limit 1
    """
    with clean_errors():
        from prefect.settings import get_current_settings

        from ssb_core.errors import ConfigError

        from ..server import deploy as deploying

        url = get_current_settings().api.url
        if not url:
            raise ConfigError("PREFECT_API_URL is not set\n  remedy: set it to a server's, or use ssb serve-local")
        deploying.deploy(pool_type.value, gpus, os.environ | {"PREFECT_API_URL": url}, _say)


def parameters(
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = None,
    from_stage: Annotated[StageName, typer.Option("--from", help="As in ssb run.")] = StageName.rollouts,
    to_stage: Annotated[StageName, typer.Option("--to", help="As in ssb run.")] = StageName.evaluate,
    force: Annotated[list[StageName] | None, typer.Option("--force", help="As in ssb run. Repeatable.")] = None,
    name: NameOption = None,
) -> None:
    """Print the parameters of a deployed run as JSON, checked.

    For example

    ssb parameters --preset paper --set model.source=/models/mine | prefect deployment run ssb/full --params -
    """
    with clean_errors():
        settings = load(preset, config, overrides, limit)
        stages = [f.value for f in force or []]
        preflight.refuse_bad_stages(from_stage.value, to_stage.value, stages)
        origin = preset or (config.stem if config else "custom")
        preflight.run_name(name, origin, settings)
        given = {
            "config": settings.model_dump(mode="json"),
            "name": name,
            "preset": origin,
            "from_stage": from_stage.value,
            "to_stage": to_stage.value,
            "force": stages,
        }
        print(json.dumps(given, indent=1, allow_nan=False))


def _say(line: str) -> None:
    print(line, flush=True)
