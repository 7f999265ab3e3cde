"""``ssb doctor``: the checks of `ssb_core.doctor` and those of the Prefect API, printed as they are made."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import typer

from . import environment
from .errors import clean_errors
from .options import ConfigOption, PresetOption, SetOption, StoreOption, load, open_store

if TYPE_CHECKING:
    from ssb_core.config import RunConfig
    from ssb_core.doctor import Check, CheckStatus
    from ssb_core.store import Store

TIMEOUT = 5.0  # seconds for one answer
LIMIT = 30.0  # seconds for all answers, with Prefect's own retries


def doctor(
    preset: PresetOption = None,
    config: ConfigOption = None,
    overrides: SetOption = None,
    store: StoreOption = "store",
) -> None:
    """Check whether a run would work, and say how to fix what is wrong. Changes nothing.

    Without a configuration it checks the installation, machine, engine, store
    and Prefect. With --preset or --config it also checks what that needs:
    problems, model, memory and disk.

    The exit code is 1 if there is a problem, and 0 if there are only warnings.

    Examples:

      ssb doctor
      ssb doctor --preset paper
    """
    with clean_errors("interrupted"):
        environment.set_defaults()
        configured = preset or config or overrides
        sound = run_checks(open_store(store), (lambda: load(preset, config, overrides)) if configured else None)
        raise typer.Exit(0 if sound else 1)


def run_checks(store: Store, load_config: Callable[[], RunConfig] | None = None) -> bool:
    """Make and print every check, also those of a configuration if given. Returns True if there is no problem."""
    from . import console

    made: list[Check] = []
    for group, checks in groupby(_all_checks(store, load_config), key=itemgetter(0)):
        console.console.print(f"\n{group}", style="bold")
        for _, check in checks:
            console.print_check(check)
            made.append(check)
    console.console.print(f"\n{conclusion([c.status for c in made])}")
    return all(c.status != "problem" for c in made)


def conclusion(statuses: Sequence[CheckStatus]) -> str:
    """The last line: how many problems and warnings there are."""
    from ssb_core.results.wording import count

    counts = {status: statuses.count(status) for status in ("problem", "warning")}
    return ", ".join(count(n, status) for status, n in counts.items() if n) or "everything is in order"


def _all_checks(store: Store, load_config: Callable[[], RunConfig] | None) -> Iterator[tuple[str, Check]]:
    """Every check with its group. If the configuration cannot be used, everything else is still checked."""
    from ssb_core.doctor import Examination, examinations, examine, failure
    from ssb_core.errors import ConfigError

    config = None
    if load_config is not None:
        try:
            config = load_config()
        except ConfigError as e:
            yield "configuration", failure("configuration", e)
    yield from examine([*examinations(store, config), Examination("Prefect", "api", check_api, LIMIT)])


def check_api() -> Iterator[Check]:
    """Which API is used, whether it answers, and whether its version fits."""
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    from ssb_core.config.secrets import without_password
    from ssb_core.doctor import Check

    settings = get_current_settings()
    if not settings.api.url:
        yield _temporary_server(settings.server.ephemeral.enabled)
        return
    url = without_password(settings.api.url)
    with get_client(sync_client=True, httpx_settings={"timeout": TIMEOUT}) as client:
        error = client.api_healthcheck()
        yield Check("api", "ok", f"{url} answers") if error is None else _unreachable(url, error)
        if error is None and str(client.server_type.value) != "cloud":
            yield check_versions(client.api_version(), client.client_version())


def check_versions(server: str, client: str) -> Check:
    """Compare the versions: the server must have the client's major version, and should not be older."""
    from packaging.version import Version

    from ssb_core.doctor import Check

    ours, theirs = Version(client), Version(server)
    versions = f"server {server}, client {client}"
    remedy = f"on the server: pip install 'prefect=={client}', then start it again"
    if theirs.major != ours.major:
        return Check("version", "problem", versions, remedy)
    return Check("version", "warning", versions, remedy) if theirs < ours else Check("version", "ok", versions)


def _temporary_server(allowed: bool) -> Check:
    from ssb_core.doctor import Check

    if allowed:
        return Check("api", "ok", "PREFECT_API_URL is not set: a run starts a temporary server of its own")
    remedy = "export PREFECT_SERVER_ALLOW_EPHEMERAL_MODE=true, or set PREFECT_API_URL to a server"
    return Check("api", "problem", "PREFECT_API_URL is not set, and temporary servers are switched off", remedy)


def _unreachable(url: str, error: Any) -> Check:
    from ssb_core.doctor import Check

    status = getattr(getattr(error, "response", None), "status_code", None)
    if status in (401, 403):
        return Check(
            "api",
            "problem",
            f"{url} refuses our credentials (status {status})",
            "correct PREFECT_API_KEY or PREFECT_API_AUTH_STRING",
        )
    unset = "unset PREFECT_API_URL" if "PREFECT_API_URL" in os.environ else "prefect config unset PREFECT_API_URL"
    why = f"it answers with status {status}" if status else type(error).__name__
    remedy = f"prefect server start, or use a temporary server: {unset}"
    return Check("api", "problem", f"{url} cannot be used ({why})", remedy)
