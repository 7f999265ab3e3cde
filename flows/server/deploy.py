"""Create the work pools, automations and deployments of deployments/ on a Prefect server.

This can be repeated: pools keep what users changed in them, and deployments and automations are updated from the files.
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


def deploy(gpu_pool_type: PoolType, gpus: int, env: Mapping[str, str], report: Callable[[str], None]) -> None:
    """Create what is missing on the server of PREFECT_API_URL in `env`, and update the rest.

    Args:
        gpu_pool_type: Type of the work pool ``gpu``.
        gpus: Its concurrency limit, if the pool does not exist yet.
        env: Environment variables of `prefect deploy`.
        report: Gets a line of text for each pool, automation and deployment.

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
            for line in (*_create_pools(client, gpu_pool_type, gpus), *_create_automations(client)):
                report(line)
    except (httpx.TransportError, PrefectHTTPStatusError) as e:
        remedy = "remedy: start a server there, and set PREFECT_API_AUTH_STRING if it has a password"
        raise ConfigError(f"the Prefect server at PREFECT_API_URL cannot be used: {e}\n  {remedy}") from None
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", "prefect.yaml"]
    done = subprocess.run(command, cwd=FILES, env=dict(env), capture_output=True, text=True)
    if done.returncode:
        raise ConfigError(f"the deployments cannot be created:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    names = ", ".join(f"ssb/{d['name']}" for d in _read("prefect.yaml")["deployments"])
    report(f"deployments  {names}")


def _create_pools(client: Any, gpu_pool_type: PoolType, gpus: int) -> Iterator[str]:
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists

    for pool in pools():
        pool_type = gpu_pool_type if pool["name"] == "gpu" else pool["type"]
        limit = max(gpus, pool["concurrency_limit"]) if pool["name"] == "gpu" else pool["concurrency_limit"]
        new = WorkPoolCreate(
            name=pool["name"],
            type=pool_type,
            description=pool["description"],
            concurrency_limit=limit,
            base_job_template=_job_template(pool_type),
        )
        try:
            on_server, outcome = client.create_work_pool(new), "created"
        except ObjectAlreadyExists:
            on_server, outcome = client.read_work_pool(pool["name"]), "exists, and is left unchanged"
        for queue, priority in pool["queues"].items():
            _create_queue(client, pool["name"], queue, priority, new_pool=outcome == "created")
        limit = on_server.concurrency_limit
        at_once = "any number of runs" if limit is None else f"{limit} at once"
        queues = ", ".join(pool["queues"])
        yield f"pool         {pool['name']} ({on_server.type}, {at_once}, queues {queues}): {outcome}"


def _create_queue(client: Any, pool: str, name: str, priority: int, new_pool: bool) -> None:
    from prefect.exceptions import ObjectAlreadyExists

    try:
        client.create_work_queue(name=name, work_pool_name=pool, priority=priority)
    except ObjectAlreadyExists:
        if new_pool:  # Prefect creates every pool with a queue named default
            queue = client.read_work_queue_by_name(name, work_pool_name=pool)
            client.update_work_queue(queue.id, priority=priority)


def _create_automations(client: Any) -> Iterator[str]:
    from prefect.automations import AutomationCore

    for raw in _read("automations.yaml")["automations"]:
        automation = AutomationCore.model_validate(raw)
        existing = client.read_automations_by_name(automation.name)
        if existing:
            client.update_automation(existing[0].id, automation.model_copy(update={"enabled": existing[0].enabled}))
        else:
            client.create_automation(automation)
        for duplicate in existing[1:]:
            client.delete_automation(duplicate.id)
        yield f"automation   {automation.name}: {'updated' if existing else 'created'}"


def _job_template(pool_type: PoolType) -> dict[str, Any]:
    if pool_type == "process":
        from prefect.workers.process import ProcessWorker

        return ProcessWorker.get_default_base_job_template()
    return dict(json.loads((FILES / "pools" / f"{pool_type}.json").read_text(encoding="utf-8")))


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FILES / name).read_text(encoding="utf-8")))
