"""``python -m tests.support.s3_server PORT FAULTS``: moto's S3 on loopback; the file FAULTS says how often it fails.

FAULTS holds the share of requests that fail, between 0 and 1, and optionally a kind. A ``refused`` request is not done
(503), a ``lost`` one is done but answered with 500, and a ``broken off`` one is not answered. Without a kind, each of
the three is as likely.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT, free_port

Wsgi = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Unreliable:
    """A WSGI application that fails at random, from a fixed seed."""

    def __init__(self, application: Wsgi, faults: Path) -> None:
        self.application = application
        self.faults = faults
        self.draw = random.Random(0)

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        share, _, kind = self.faults.read_text().partition(" ")
        if self.draw.random() >= float(share):
            return self.application(environ, start_response)
        kind = kind or self.draw.choice(("refused", "lost", "broken off"))
        if kind == "broken off":
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            raise ConnectionResetError
        if kind == "lost":
            b"".join(self.application(environ, lambda *_: None))
        code = "503 Slow Down" if kind == "refused" else "500 Internal Server Error"
        start_response(code, [("Content-Type", "application/xml")])
        return [b"<Error><Code>%s</Code></Error>" % (b"SlowDown" if kind == "refused" else b"InternalError")]


@dataclass(frozen=True)
class S3:
    """A running server with one bucket, and the environment of a process that uses it."""

    env: dict[str, str]
    faults: Path

    @property
    def url(self) -> str:
        """The folder of all stores, with a space and an umlaut in its name."""
        return "s3://bucket/runs of ü/store"

    def fail(self, share: float, kind: str = "") -> None:
        """Let a share of the requests fail from now on, all in the same way if a `kind` is given."""
        temporary = self.faults.with_suffix(".new")
        temporary.write_text(f"{share} {kind}")
        os.replace(temporary, self.faults)


@contextmanager
def s3_server(folder: Path) -> Iterator[S3]:
    """Run an S3 server for the block."""
    port, faults, log = free_port(), folder / "faults", folder / "s3.log"
    endpoint = f"http://127.0.0.1:{port}"
    faults.write_text("0")
    with log.open("w") as out:
        command = [sys.executable, "-m", "tests.support.s3_server", str(port), str(faults)]
        server = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=out)
    credentials = {"AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    env = credentials | {"AWS_DEFAULT_REGION": "us-east-1", "SSB_CACHE": str(folder / "cache")}
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(urllib.request.Request(f"{endpoint}/bucket", method="PUT"), timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None and time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield S3(env, faults)
    finally:
        server.kill()
        server.wait()


def serve(port: int, faults: Path) -> None:
    """Serve until the process is killed."""
    from moto.server import create_backend_app
    from werkzeug.serving import run_simple

    application = Unreliable(create_backend_app("s3"), faults)
    run_simple("127.0.0.1", port, application, threaded=True)


if __name__ == "__main__":
    serve(int(sys.argv[1]), Path(sys.argv[2]))
