"""The files in deployments/, parsed, and jobs rendered from their templates."""

from __future__ import annotations

import asyncio
import re
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from prefect.cli.deploy._config import _load_deploy_configs_and_actions
from prefect.client.schemas.objects import Flow, FlowRun
from prefect.types._datetime import now
from rich.console import Console

ROOT = Path(__file__).parents[2]
FILES = ROOT / "deployments"


def read(name: str) -> Any:
    """A YAML file, parsed."""
    return yaml.safe_load((FILES / name).read_text(encoding="utf-8"))


DEPLOYMENTS, ACTIONS = _load_deploy_configs_and_actions(FILES / "prefect.yaml", console=Console(stderr=True))
BY_NAME = {d["name"]: d for d in DEPLOYMENTS}


def rendered(configuration: Any, template: dict[str, Any], deployment: dict[str, Any], **values: Any) -> Any:
    """The job that a worker starts for a run of `deployment`."""
    variables = deployment["work_pool"]["job_variables"] | values
    job = asyncio.run(configuration.from_template_and_values(template, variables, client=SimpleNamespace()))
    flow = Flow(id=uuid.uuid4(), name="ssb", created=now("UTC"), updated=now("UTC"))
    job.prepare_for_flow_run(FlowRun(id=uuid.uuid4(), flow_id=flow.id, name="paper-1"), flow=flow)
    return job


def instructions(name: str) -> list[str]:
    """The arguments of every instruction called `name` in the Dockerfile."""
    text = re.sub(r"\\\n\s*", "", (FILES / "Dockerfile").read_text(encoding="utf-8"))
    return re.findall(rf"^{name} (.+)$", text, re.MULTILINE)


def pinned(package: str) -> str:
    """The version of a package that constraints.txt lists."""
    [version] = re.findall(rf"^{package}==(.+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    return version
