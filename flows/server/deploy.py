"""``ssb deploy``: work pools, automations and deployments on a Prefect server, as deployments/ describes them.

Done again it changes nothing but what the files changed: pools keep what people set in them, deployments and
automations are renewed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import yaml

from ssb_core.errors import ConfigError

FILES = Path(__file__).parents[2] / "deployments"
PoolType = Literal["process", "docker", "kubernetes"]


def pools() -> list[dict[str, Any]]:
    """The work pools: name, type, description, concurrency limit, and queues with their priorities."""
    return list(_read("pools.yaml")["pools"])


def deploy(kind: PoolType, gpus: int, env: Mapping[str, str], tell: Callable[[str], None]) -> None:
    """Create what is missing on the server that `env` names, and renew the rest.

    Raises:
        ConfigError: the server refuses, or cannot be reached.
    """
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError
    from prefect.settings import PREFECT_API_URL, temporary_settings

    url = env["PREFECT_API_URL"]
    try:
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            for line in (*_pools(client, kind, gpus), *_automations(client)):
                tell(line)
    except (httpx.TransportError, PrefectHTTPStatusError) as e:
        remedy = "remedy: see that a server answers there, and PREFECT_API_AUTH_STRING if it has a password"
        raise ConfigError(f"the Prefect server at PREFECT_API_URL cannot be used: {e}\n  {remedy}") from None
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "prefect.yaml"]
    done = subprocess.run(command, cwd=FILES, env=dict(env), capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"the deployments cannot be created:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    names = ", ".join(f"ssb/{d['name']}" for d in _read("prefect.yaml")["deployments"])
    tell(f"deployments  {names}")


def _pools(client: Any, kind: PoolType, gpus: int) -> Iterator[str]:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    for pool in pools():
        of = kind if pool["name"] == "gpu" else pool["type"]
        limit = max(gpus, pool["concurrency_limit"]) if pool["name"] == "gpu" else pool["concurrency_limit"]
        wanted = WorkPoolCreate(
            name=pool["name"],
            type=of,
            description=pool["description"],
            concurrency_limit=limit,
            base_job_template=_job_template(of),
        )
        try:
            found, made = client.create_work_pool(wanted), "made"
        except ObjectAlreadyExists:
            found, made = client.read_work_pool(pool["name"]), "there, and left as it is"
        for queue, priority in pool["queues"].items():
            _queue(client, pool["name"], queue, priority, new=made == "made")
        at_once = "any number of runs" if found.concurrency_limit is None else f"{found.concurrency_limit} at once"
        yield f"pool         {pool['name']} ({found.type}, {at_once}, queues {', '.join(pool['queues'])}): {made}"


def _queue(client: Any, pool: str, name: str, priority: int, new: bool) -> None:
    from prefect.exceptions import ObjectAlreadyExists

    try:
        client.create_work_queue(name=name, work_pool_name=pool, priority=priority)
    except ObjectAlreadyExists:
        if new:  # every pool is made with a queue called default
            found = client.read_work_queue_by_name(name, work_pool_name=pool)
            client.update_work_queue(found.id, priority=priority)


def _automations(client: Any) -> Iterator[str]:
    from prefect.automations import AutomationCore

    for raw in _read("automations.yaml")["automations"]:
        wanted = AutomationCore.model_validate(raw)
        there = client.read_automations_by_name(wanted.name)
        if there:
            client.update_automation(there[0].id, wanted.model_copy(update={"enabled": there[0].enabled}))
        else:
            client.create_automation(wanted)
        for double in there[1:]:
            client.delete_automation(double.id)
        yield f"automation   {wanted.name}: {'renewed' if there else 'made'}"


def _job_template(kind: PoolType) -> dict[str, Any]:
    if kind == "process":
        from prefect.workers.process import ProcessWorker

        return ProcessWorker.get_default_base_job_template()
    return dict(json.loads((FILES / "pools" / f"{kind}.json").read_text(encoding="utf-8")))


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FILES / name).read_text(encoding="utf-8")))
