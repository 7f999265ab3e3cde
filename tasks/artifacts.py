"""Publish the pages of a run as Prefect artifacts. A page is updated in place, and a failure never stops the run."""

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

TIMEOUT = 5.0
"""Seconds for one answer of the API. Prefect's own client would wait a minute, and try six times."""

Table = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Page:
    """One artifact. `description` is Markdown; `body` is Markdown, or rows of cells that the UI shows as a table."""

    key: str
    description: str
    body: str | Table

    @property
    def content(self) -> dict[str, str]:
        """The fields of the artifact that change when the page is published again."""
        body = self.body if isinstance(self.body, str) else json.dumps(self.body, allow_nan=False)
        return {"description": self.description, "data": body}


@contextmanager
def short_timeout() -> Iterator[None]:
    """In this block, Prefect's clients try each request once and wait `TIMEOUT` seconds for the answer."""
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0, PREFECT_API_REQUEST_TIMEOUT: TIMEOUT}):
        yield


class Publisher:
    """Publishes the pages of one flow run. A page that is published again replaces its earlier version.

    Errors are logged as warnings. While the API does not answer, pages wait for the next call of `publish`.
    """

    def __init__(self) -> None:
        self.published: dict[str, UUID] = {}
        self._waiting: dict[str, Page] = {}

    def publish(self, pages: Iterable[Page]) -> None:
        self._waiting |= {page.key: page for page in pages}
        if not self._waiting:
            return
        try:
            own = {"timeout": TIMEOUT}  # without it, get_client returns the flow run's client with its long timeout
            with short_timeout(), get_client(httpx_settings=own, sync_client=True) as client:
                for page in list(self._waiting.values()):
                    self._send(client, page)
                    del self._waiting[page.key]
        except Exception as e:  # a run must not fail because of its pages
            waiting = ", ".join(self._waiting)
            get_run_logger().warning("not published in the UI yet: %s (%s: %s)", waiting, type(e).__name__, e)

    def _send(self, client: SyncPrefectClient, page: Page) -> None:
        try:
            if artifact_id := self.published.get(page.key):
                client.update_artifact(artifact_id, ArtifactUpdate(**page.content))
                return
            kind = "markdown" if isinstance(page.body, str) else "table"
            new = ArtifactCreate(key=page.key, type=kind, flow_run_id=flow_run.id, **page.content)
            self.published[page.key] = client.create_artifact(new).id
        except PrefectHTTPStatusError as e:
            if may_pass(e):
                raise  # the page waits for the next call
            get_run_logger().warning("the API refused the artifact %s: %s", page.key, e)
