"""The tags of a flow run, by which the UI filters: its own preset, model and data.

A flow run begins with the tags of its deployment, or with those of the run that it was copied from in the UI.
"""

from __future__ import annotations

from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from .artifacts import TIMEOUT, short_timeout

OWN = ("preset:", "model:", "data:")
"""The beginnings of the tags that say what a run is."""


def of_run(preset: str, model: str, data: str) -> list[str]:
    """The tags that say what a run is."""
    return ["ssb", *(f"{prefix}{value}" for prefix, value in zip(OWN, (preset, model, data), strict=True))]


def set_own(*own: str) -> None:
    """Give the current flow run these tags, and keep those of its tags that do not say what a run is."""
    kept = [tag for tag in flow_run.tags if tag not in own and not tag.startswith(OWN)]
    try:
        with short_timeout(), get_client(httpx_settings={"timeout": TIMEOUT}, sync_client=True) as client:
            client.update_flow_run(flow_run.id, tags=[*own, *kept])
    except Exception as e:  # a run must not fail because of its tags
        get_run_logger().warning("the run has no tags of its own: %s: %s", type(e).__name__, e)
