"""Whether an error of a run means that Prefect's server is lost, wherever in Prefect or the flow it was met."""

from __future__ import annotations

from collections.abc import Iterator

import httpx

from ssb_core.errors import SSBError

NOT_STARTED = "ephemeral Prefect API server"  # in the text of the only error that says so


def reason(error: BaseException, api: str) -> str | None:
    """Why the API at this URL could not be used, in one line. None if that is not what `error` came from."""
    if isinstance(error, SSBError):  # it says itself what is wrong
        return None
    for e in _chain(error):
        if isinstance(e, httpx.TransportError | httpx.HTTPStatusError) and _went_to(e, api) and not _refused(e):
            return str(e).partition("\n")[0] or type(e).__name__
        if isinstance(e, RuntimeError) and NOT_STARTED in str(e):
            return str(e).partition("\n")[0].rstrip(".")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, the one that it came from, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _went_to(error: httpx.TransportError | httpx.HTTPStatusError, api: str) -> bool:
    """Whether the failed request went to the API."""
    request, url = getattr(error, "_request", None), httpx.URL(api)
    if request is None:
        return False
    return (url.host, url.port) == (request.url.host, request.url.port) and request.url.path.startswith(url.path)


def _refused(error: httpx.TransportError | httpx.HTTPStatusError) -> bool:
    """Whether the server is there and said no."""
    return isinstance(error, httpx.HTTPStatusError) and error.response.status_code < 500
