"""Publishing pages through an API that does not answer, or refuses them."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks import artifacts
from tasks.artifacts import Page, Publisher


@pytest.fixture
def silent_api() -> Iterator[str]:
    """The URL of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/api"


def test_an_api_that_does_not_answer_costs_seconds_and_pages_wait(
    silent_api: str, monkeypatch: pytest.MonkeyPatch, run_log: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(artifacts, "TIMEOUT", 0.5)
    publisher, started = Publisher(), time.monotonic()
    with temporary_settings({PREFECT_API_URL: silent_api}):
        publisher.publish([Page("ssb-a", "", "one"), Page("ssb-b", "", "two")])
    assert "not published in the UI yet: ssb-a, ssb-b" in run_log.text
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):  # a port that nothing listens on
        publisher.publish([Page("ssb-b", "", "again")])
    assert run_log.text.count("ssb-a, ssb-b") == 2 and not publisher.published
    assert time.monotonic() - started < 30  # Prefect's own client would have taken minutes


class Refusing(BaseHTTPRequestHandler):
    """An API that refuses every artifact."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(422)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_a_refused_page_is_not_published_again(run_log: pytest.LogCaptureFixture) -> None:
    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{server.server_port}/api"}):
            publisher = Publisher()
            publisher.publish([Page("ssb-a", "", "one"), Page("ssb-b", "", [{"x": "1"}])])
            publisher.publish([])
        server.shutdown()
    assert run_log.text.count("the API refused the artifact") == 2
