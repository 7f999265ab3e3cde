"""A run leaves no key or token in any log, artifact, result, shard or page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import Request, Response

from ssb_core import models
from tests.support.completions_server import CompletionsServer, refuses, running
from tests.support.processes import quickstart, run_ssb

CANARIES = {
    "HF_TOKEN": "hf_canaryOfTheHub",
    "SSB_SERVER_KEY": "sk-canaryOfTheServer",
    "PREFECT_API_AUTH_STRING": "admin:canaryOfPrefect",
}
TINY = (
    *("problems.limit=16", "target_traces=2", "distill.epochs=1", "execution.engine=openai", "rounds=1"),
    *(
        "evaluate.benchmarks=[{name: nano-test, source: nano-test, limit: 4}]",
        "execution.server={retries: 1, seeded_draw: false}",
    ),
)


async def echoes(request: Request) -> Response:
    """A fault: a server quotes the header with the key in an error that may pass."""
    return await refuses(503, f"try again, {request.headers['authorization']}")(request)


async def denies(request: Request) -> Response:
    return await refuses(401, f"no such key: {request.headers['authorization']}")(request)


@pytest.fixture(scope="module")
def server(nano: models.ResolvedModel) -> CompletionsServer:
    return CompletionsServer(nano)


@pytest.fixture(scope="module")
def url(server: CompletionsServer) -> Iterator[str]:
    with running(server) as address:
        yield address


def holders(folder: Path) -> list[tuple[str, str]]:
    """The files below a folder that have a secret, with its name."""
    files = [f for f in folder.rglob("*") if f.is_file()]
    assert files
    return [(str(f), name) for f in files for name, value in CANARIES.items() if value.encode() in f.read_bytes()]


def test_no_secret_is_left_behind_by_a_run_whose_server_quotes_it(
    server: CompletionsServer, url: str, served: dict[str, str], tmp_path: Path
) -> None:
    """The server quotes the key in an error that passes, and again in the error that ends the run in teach."""
    settings = (*TINY, f"execution.server.url={url}")
    server.faults = [echoes, *[server.answers] * 64, *[denies] * 64]  # the first of 64 rollouts is requested twice
    done = run_ssb(*quickstart("run", settings, "--name", "canary"), env=served | CANARIES, cwd=tmp_path)
    assert done.returncode == 1 and "no such key: Bearer <SSB_SERVER_KEY>" in done.stderr
    assert "canaryOf" not in done.stdout + done.stderr
    assert server.keys == {f"Bearer {CANARIES['SSB_SERVER_KEY']}"}
    assert list(tmp_path.glob("store/select/*/manifests/*"))
    assert (tmp_path / "runs" / "canary" / "unfinished" / "failed.json").exists()
    home = Path(served["PREFECT_HOME"])
    assert any(b"<SSB_SERVER_KEY>" in f.read_bytes() for f in home.glob("prefect.db*")), (
        "the failure is not in the database"
    )
    assert holders(tmp_path) + holders(home) == []
