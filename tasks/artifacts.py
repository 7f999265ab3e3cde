"""Pages of a run as Prefect artifacts: published at once, brought up to date in place, never in the run's way."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from prefect import get_run_logger
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import ArtifactCreate, ArtifactUpdate
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_REQUEST_TIMEOUT, PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from ssb_core.errors import may_pass

PATIENCE = 5.0
"""Seconds that the API may take for one step. A client as Prefect makes it waits a minute, and tries six times."""

Table = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """One artifact: `description` and a `body` that is text are Markdown; rows of cells are shown as a table."""

    key: str
    description: str
    body: str | Table

    @property
    def content(self) -> dict[str, str]:
        """What of the artifact changes when it is published again."""
        body = self.body if isinstance(self.body, str) else json.dumps(self.body, allow_nan=False)
        return {"description": self.description, "data": body}


@contextmanager
def impatient() -> Iterator[None]:
    """Within the block the API is asked once, and not for long."""
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: PATIENCE}):
        yield


class Publisher:
    """Publishes pages of one flow run. A page that is published again takes the place of what it was.

    Whatever goes wrong is a warning. While the API does not answer, pages wait for the next time.
    """

    def __init__(self) -> None:
        self.published: dict[str, UUID] = {}
        self._waiting: dict[str, Page] = {}

    def publish(self, pages: Iterable[Page]) -> None:
        self._waiting |= {page.key: page for page in pages}
        if not self._waiting:
            return
        try:
            own = {"timeout": PATIENCE}  # or it would be the flow run's client, which is patient
            with impatient(), get_client(httpx_settings=own, sync_client=True) as client:
                for page in list(self._waiting.values()):
                    self._send(client, page)
                    del self._waiting[page.key]
        except Exception as e:  # the run matters, what the UI shows of it does not
            left = ", ".join(self._waiting)
            get_run_logger().warning("not published in the UI yet: %s (%s: %s)", left, type(e).__name__, e)

    def _send(self, client: SyncPrefectClient, page: Page) -> None:
        try:
            if known := self.published.get(page.key):
                client.update_artifact(known, ArtifactUpdate(**page.content))
                return
            kind = "markdown" if isinstance(page.body, str) else "table"
            new = ArtifactCreate(key=page.key, type=kind, flow_run_id=flow_run.id, **page.content)
            self.published[page.key] = client.create_artifact(new).id
        except PrefectHTTPStatusError as e:
            if may_pass(e):
                raise  # it waits for the next time
            get_run_logger().warning("the API refused artifact %s: %s", page.key, e)
