"""Which failures are worth another try."""

from __future__ import annotations

import errno
from pathlib import Path

import httpx
import pytest
import requests
import torch
from safetensors import SafetensorError

from ssb_core.engines.server_client import Refused
from ssb_core.errors import ConfigError, EngineError, StageError, StoreError, may_pass, refused


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
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 7 bytes"),
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
        StageError("exceeded its time limit"),
        OSError(28, "No space left on device"),
        ValueError("a fault in the code"),
        RuntimeError("shapes do not match"),
        answered(404),
    ],
    ids=repr,
)
def test_what_somebody_has_to_mend_does_not_pass(error: BaseException) -> None:
    assert not may_pass(error)


@pytest.mark.parametrize("error", [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.ENOSPC, "Error writing bytes to file. Detail: [errno 28] No space left on device"),  # pyarrow
    SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
])  # fmt: skip
def test_a_full_disk_is_told_with_what_is_free_and_the_remedy(error: Exception, tmp_path: Path) -> None:
    told = refused(error, tmp_path / "store")
    assert told and told.startswith(f"{tmp_path}/store: No space left on device (") and " MB free)" in told
    assert "remedy: free some, then run the same command again" in told
    assert not may_pass(error)


def test_what_native_libraries_say_is_read_and_a_path_is_named_where_one_is_known(tmp_path: Path) -> None:
    torchs = RuntimeError("[enforce fail at inline_container.cc:747] . open file failed with strerror: "
                          "Read-only file system")  # fmt: skip
    assert "Read-only file system" in (refused(torchs, tmp_path) or "")
    assert (refused(PermissionError(errno.EACCES, "no", "x/y"), tmp_path) or "").startswith("x/y: Permission denied;")


@pytest.mark.parametrize("error", [
    ConnectionRefusedError(errno.ECONNREFUSED, "refused"), StoreError("No space left on device"), ValueError("28"),
])  # fmt: skip
def test_other_errors_are_left_to_say_what_they_are(error: Exception, tmp_path: Path) -> None:
    assert refused(error, tmp_path) is None
