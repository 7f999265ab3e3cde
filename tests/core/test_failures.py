"""Which failures are worth another try."""

from __future__ import annotations

import httpx
import pytest
import requests
import torch

from ssb_core.config import ConfigError
from ssb_core.engines import EngineError
from ssb_core.engines.server_client import Refused
from ssb_core.failures import may_pass
from ssb_core.stages.host import StageError
from ssb_core.store import StoreError


def answered(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://hub.example/model")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


@pytest.mark.parametrize(
    "error",
    [
        EngineError("vLLM failed"),
        StageError("was killed", transient=True),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        ConnectionResetError(),
        TimeoutError(),
        httpx.ConnectError("refused"),
        httpx.ReadTimeout("slow"),
        requests.ConnectionError("reset"),
        answered(503),
        answered(429),
    ],
    ids=repr,
)
def test_what_died_ran_out_of_memory_or_was_not_answered_may_pass(error: BaseException) -> None:
    assert may_pass(error)


@pytest.mark.parametrize(
    "error",
    [
        ConfigError("no such field"),
        StoreError("run stage select first"),
        Refused("status 400"),
        StageError("took longer than it may"),
        OSError(28, "No space left on device"),
        ValueError("a fault in the code"),
        answered(404),
    ],
    ids=repr,
)
def test_what_somebody_has_to_mend_does_not_pass(error: BaseException) -> None:
    assert not may_pass(error)
