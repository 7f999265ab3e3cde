"""The web server for the reports of the runs: what it serves, and everything that it must not serve."""

from __future__ import annotations

import http.client
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.server import runs_server, serve_local
from flows.server.home import HOME
from tests.support.processes import free_port

SECRET = "secret"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder with a run, an unfinished one, and everything that leads out of the folder."""
    folder = tmp_path / "runs"
    run = folder / "a run"
    (run / "deep").mkdir(parents=True)
    (run / "report.html").write_text("<!doctype html>ours")
    (run / "summary.json").write_text("{}")
    for path in (tmp_path / "report.html", run / "log.txt", run / ".env.json", run / "deep" / "report.html"):
        path.write_text(SECRET)
    (run / "link.json").symlink_to(tmp_path / "report.html")
    os.mkfifo(run / "pipe.json")
    (run / "folder.json").mkdir()
    (folder / "outside").symlink_to(tmp_path)
    (folder / "<img src=x>").mkdir()
    (folder / "<img src=x>" / "report.html").touch()
    (folder / "unfinished").mkdir()
    return folder


@contextmanager
def served(runs: Path, host: str = "127.0.0.1", password: str | None = None) -> Iterator[int]:
    port = free_port()
    with runs_server.serving(runs, host, port, password):
        yield port


def ask(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, http.client.HTTPMessage, str]:
    """The status, the headers and the body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read().decode()
    finally:
        connection.close()


def test_a_report_is_served_with_headers_that_let_no_page_run_or_load_anything(runs: Path) -> None:
    with served(runs) as port:
        status, headers, body = ask(port, runs_server.report_path("a run"))
        assert (status, body, headers["Content-Type"]) == (200, "<!doctype html>ours", "text/html; charset=utf-8")
        assert "default-src 'none'" in headers["Content-Security-Policy"] and "script" not in str(headers)
        assert headers["X-Content-Type-Options"] == "nosniff" and "frame-ancestors 'none'" in str(headers)
        assert ask(port, "/a%20run/summary.json")[2] == "{}"
        assert ask(port, "/a%20run/report.html", "HEAD")[0::2] == (200, "")
        for method in ("POST", "PUT", "DELETE"):
            assert ask(port, "/a%20run/report.html", method)[0] == 501


def test_an_address_that_cannot_be_read_and_a_broken_connection_print_nothing(
    runs: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with served(runs) as port:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(b"GET http://[x/report.html HTTP/1.0\r\nHost: localhost\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.0 400 ")
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # closed by a reset
            connection.sendall(b"GET /")
        assert ask(port, "/")[0] == 200
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "path",
    [
        "/../report.html",
        "/%2e%2e/report.html",
        "/a%20run/../../report.html",
        "/a%20run/%2e%2e%2f%2e%2e%2freport.html",
        "/a%20run%2f..%2f../report.html",
        "//report.html",
        "/outside/report.html",
        "/a%20run/link.json",
        "/a%20run/pipe.json",
        "/a%20run/folder.json",
        "/a%20run/log.txt",
        "/a%20run/.env.json",
        "/a%20run/deep/report.html",
        "/a%20run/report.html%00.html",
        "/a%20run/",
        "/a%20run",
        "/unfinished/report.html",
        "/report.html",
    ],
)
def test_nothing_else_is_served(runs: Path, path: str) -> None:
    with served(runs) as port:
        status, headers, body = ask(port, path)
    assert status == 404 and SECRET not in body and headers["X-Content-Type-Options"] == "nosniff"


def test_the_first_page_lists_the_runs_that_have_a_report_and_nothing_else(runs: Path) -> None:
    os.utime(runs / "<img src=x>" / "report.html", (1, 1))
    with served(runs) as port:
        body = ask(port, "/")[2]
    names = ["a run", "&lt;img src=x&gt;"]
    links = [f'<li><a href="/{path}/report.html">' for path in ("a%20run", "%3Cimg%20src%3Dx%3E")]
    assert f"<ul>{''.join(f'{link}{name}</a></li>' for link, name in zip(links, names, strict=True))}</ul>" in body
    with served(runs / "none") as port:
        assert "No run is finished yet" in ask(port, "/")[2]


def test_on_this_machine_alone_another_host_name_is_refused(runs: Path) -> None:
    with served(runs) as port:
        assert ask(port, "/", Host="evil.example")[0] == 403
        assert ask(port, "/", Host=f"localhost:{port}")[0] == 200


def test_the_password_of_the_prefect_server_is_asked_for(runs: Path) -> None:
    with served(runs, "0.0.0.0", "user:pass") as port:
        status, headers, body = ask(port, "/a%20run/report.html", Host="gpu.example")
        assert status == 401 and headers["WWW-Authenticate"].startswith("Basic") and "ours" not in body
        assert ask(port, "/", Authorization="Basic dXNlcjpwYXNz")[0] == 200
        assert ask(port, "/", Authorization="Basic dXNlcjp3cm9uZw==")[0] == 401


def test_the_password_of_a_prefect_profile_counts_too(runs: Path) -> None:
    from prefect.settings import PREFECT_SERVER_API_AUTH_STRING, temporary_settings

    with temporary_settings({PREFECT_SERVER_API_AUTH_STRING: "user:pass"}):  # not in the environment
        port = free_port()
        with serve_local._serving_runs({HOME: str(runs.parent)}, "127.0.0.1", port):
            assert ask(port, "/")[0] == 401
            assert ask(port, "/", Authorization="Basic dXNlcjpwYXNz")[0] == 200
