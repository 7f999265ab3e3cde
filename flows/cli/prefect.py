"""``ssb serve-local``, ``ssb deploy`` and ``ssb parameters``: for users who run ssb on a Prefect server."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from ssb_core.config.execution import StageName

from .errors import clean_errors
from .options import (
    ConfigOption,
    ForceOption,
    FromOption,
    LimitOption,
    NameOption,
    PoolTypeName,
    PresetOption,
    SetOption,
    ToOption,
    load,
    preset_name,
)


def serve_local(
    home: Annotated[
        Path,
        typer.Option("--home", envvar="SSB_HOME", metavar="DIR", help="Folder of store, runs and data files."),
    ] = Path("."),
    port: Annotated[int, typer.Option(min=1, max=65535, metavar="N", help="Port of the server and its UI.")] = 4200,
    host: Annotated[
        str,
        typer.Option(
            metavar="ADDRESS",
            help="Address of the server. Everyone who can reach it controls it: see PREFECT_SERVER_API_AUTH_STRING.",
        ),
    ] = "127.0.0.1",
    runs_port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, metavar="N", help="Port of the reports of the runs. By default: the one after --port."
        ),
    ] = None,
) -> None:
    """Start a Prefect server with its UI on this machine, with work pools, deployments, and a worker for each GPU.

    It also serves the reports in the folder runs, read-only, so that the pages
    of the UI can link to them. Ctrl-C stops everything. Start it again at any
    time: it continues with the same database, pools and runs.

    Example, with the second and third line in another terminal:

      ssb serve-local
      export PREFECT_API_URL=http://127.0.0.1:4200/api
      prefect deployment run ssb/quickstart --watch
    """
    from ..server import serve_local as local_server

    with clean_errors(
        "stopped; runs continue from their last shard when they are started again", 4 * local_server.GRACE
    ):
        try:
            local_server.serve(home, host, port, runs_port, _print_line)
        except local_server.ProcessEnded as e:
            print(f"error: {e}", file=sys.stderr)
            raise typer.Exit(1) from None


def deploy(
    pool_type: Annotated[
        PoolTypeName, typer.Option(help="Run the flows of the pool gpu as processes, or in containers.")
    ] = PoolTypeName.process,
    gpus: Annotated[
        int, typer.Option(min=1, metavar="N", help="Number of GPUs, and so of runs that the pool gpu allows at once.")
    ] = 1,
) -> None:
    """Create work pools, automations and deployments on the server that PREFECT_API_URL names.

    Run it again after an upgrade: deployments and automations are updated, and
    pools keep what you changed in them.

    Example, with a worker for the first GPU:

      export PREFECT_API_URL=http://127.0.0.1:4200/api
      ssb deploy --gpus 2
      export SSB_HOME=/data/ssb
      CUDA_VISIBLE_DEVICES=0 prefect worker start --pool gpu --limit 1
    """
    with clean_errors():
        from prefect.settings import get_current_settings

        from ssb_core.errors import ConfigError

        from ..server import deploy as deployment

        url = get_current_settings().api.url
        if not url:
            raise ConfigError("PREFECT_API_URL is not set\n  remedy: set it to a server's, or use ssb serve-local")
        deployment.deploy(pool_type.value, gpus, os.environ | {"PREFECT_API_URL": url}, _print_line)


def parameters(
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    limit: LimitOption = None,
    from_stage: FromOption = StageName.rollouts,
    to_stage: ToOption = StageName.evaluate,
    force: ForceOption = None,
    name: NameOption = None,
) -> None:
    """Check the options of a run, and print them as JSON: the parameters of a deployment.

    The options mean the same as in ssb run.

    Example:

      ssb parameters --preset paper | prefect deployment run ssb/full --params -
    """
    with clean_errors():
        from ssb_core.api import preflight

        settings = load(preset, config, overrides, limit)
        preflight.refuse_bad_stages(from_stage, to_stage, force or ())
        called = preset_name(preset, config)
        preflight.run_name(name, called, settings)
        flow_parameters = {
            "config": settings.model_dump(mode="json"),
            "name": name,
            "preset": called,
            "from_stage": from_stage,
            "to_stage": to_stage,
            "force": force or [],
        }
        print(json.dumps(flow_parameters, indent=1, allow_nan=False))


def _print_line(line: str) -> None:
    print(line, flush=True)
