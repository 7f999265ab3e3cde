"""A lost Prefect server is recognised in whatever error the flow ends with."""

from __future__ import annotations

import httpx
import pytest

from flows.server import lost
from ssb_core.errors import StageError

API = "http://127.0.0.1:8123/api"


def failed(url: str) -> httpx.ConnectError:
    return httpx.ConnectError("Connection refused", request=httpx.Request("POST", url))


def answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("POST", f"{API}/flow_runs/")
    return httpx.HTTPStatusError(f"status {status}\nmore", request=request, response=httpx.Response(status))


def wrapped(error: Exception) -> Exception:
    try:
        try:
            raise error
        except Exception as e:
            raise RuntimeError("the run crashed") from e
    except RuntimeError as e:
        return e


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (failed(f"{API}/flow_runs/"), "Connection refused"),
        (wrapped(failed(f"{API}/flow_runs/")), "Connection refused"),
        (answered(503), "status 503"),
        (RuntimeError("Timed out while attempting to connect to ephemeral Prefect API server."), "Timed out while"),
        (answered(404), None),
        (failed("http://127.0.0.1:8000/v1/completions"), None),
        (wrapped(ValueError("a fault in the code")), None),
        (StageError("stage teach failed"), None),
    ],
)
def test_the_reason_is_that_of_a_failed_request_to_the_api(error: Exception, reason: str | None) -> None:
    found = lost.reason(error, API)
    assert found is None if reason is None else found and found.startswith(reason) and "\n" not in found
