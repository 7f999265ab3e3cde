"""`ssb doctor`: every examination of `ssb_core.doctor`, and what only Prefect can tell, printed as it is made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, get_args

from ssb_core.config import RunConfig
from ssb_core.config.secrets import without_password
from ssb_core.doctor import Check, Examination, Status, examinations, examine, failure
from ssb_core.errors import ConfigError

from . import console

if TYPE_CHECKING:
    from ssb_core.store import Store

TIMEOUT = 5.0  # seconds for one answer
LIMIT = 30.0  # for all, retries of Prefect's own included


def run(store: Store, load: Callable[[], RunConfig] | None = None) -> bool:
    """Look at everything, with the configuration that `load` gives if there is one; whether there is no problem."""
    found: list[Check] = []
    for group, checks in groupby(_everything(store, load), key=itemgetter(0)):
        console.console.print(f"\n{group}", style="bold")
        for _, check in checks:
            console.print_check(check)
            found.append(check)
    console.console.print(f"\n{summed_up([c.status for c in found])}")
    return all(c.status != "problem" for c in found)


def summed_up(statuses: Sequence[Status]) -> str:
    """The last line: how many problems and warnings there are."""
    counts = {word: statuses.count(word) for word in get_args(Status)[::-1] if word != "ok"}
    told = [f"{n} {word}{'s' * (n > 1)}" for word, n in counts.items() if n]
    return ", ".join(told) or "everything is in order"


def _everything(store: Store, load: Callable[[], RunConfig] | None) -> Iterator[tuple[str, Check]]:
    """Every check with its group; a configuration that cannot be used keeps the machine from nothing."""
    config = None
    if load is not None:
        try:
            config = load()
        except ConfigError as e:
            yield "configuration", failure("configuration", e)
    yield from examine([*examinations(store, config), Examination("Prefect", "api", api, LIMIT)])


def api() -> Iterator[Check]:
    """Which API is used, whether it answers, and whether it is of a version that suits."""
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    settings = get_current_settings()
    if not settings.api.url:
        yield _temporary(settings.server.ephemeral.enabled)
        return
    where = without_password(settings.api.url)
    with get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT}) as client:
        error = client.api_healthcheck()
        yield Check("api", "ok", f"{where} answers") if error is None else _unreachable(where, error)
        if error is None and str(client.server_type.value) != "cloud":
            yield versions(client.api_version(), client.client_version())


def versions(server: str, client: str) -> Check:
    """The server's version beside the client's: it must be of the same major version, and should not be older."""
    from packaging.version import Version

    ours, theirs = Version(client), Version(server)
    found = f"server {server}, client {client}"
    remedy = f"on the server: pip install 'prefect=={client}', then start it again"
    if theirs.major != ours.major:
        return Check("version", "problem", found, remedy)
    return Check("version", "warning", found, remedy) if theirs < ours else Check("version", "ok", found)


def _temporary(allowed: bool) -> Check:
    if allowed:
        return Check("api", "ok", "none is set, so a run starts a temporary server of its own")
    found = "none is set, and temporary servers are switched off"
    remedy = "export PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=true, or set PREFECT_API_URL to a server"
    return Check("api", "problem", found, remedy)


def _unreachable(where: str, error: Any) -> Check:
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        found = f"{where} refuses us (status {status})"
        return Check("api", "problem", found, "correct PREFECT_API_KEY or PREFECT_API_AUTH_STRING")
    here = "unset PREFECT_API_URL" if "PREFECT_API_URL" in os.environ else "prefect config unset PREFECT_API_URL"
    why = f"it answers with status {status}" if status else type(error).__name__
    remedy = f"prefect server start, or go on with a temporary server: {here}"
    return Check("api", "problem", f"{where} cannot be used ({why})", remedy)
