"""A small read-only web server for the reports of the runs, so that pages of the Prefect UI can link to them.

A browser opens no file from a page of the UI. This server has two kinds of addresses: ``/`` lists the runs, and
``/RUN/FILE`` is one file of a run: a page, a table of numbers or a configuration. It follows no links, and serves
nothing that is hidden, in deeper folders, or of another kind. The texts of models are untrusted, so no page may run a
script or load anything.
"""

from __future__ import annotations

import base64
import hmac
import os
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

KINDS = {
    ".html": "text/html; charset=utf-8",
    ".json": "application/json",
    ".yaml": "text/plain; charset=utf-8",
}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
NOFOLLOW = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK  # a FIFO must not block


class RunsServer(ThreadingHTTPServer):
    """Serves the folder `runs`. With a `password` (user:password), a browser asks for it."""

    daemon_threads = True

    def __init__(self, runs: Path, host: str, port: int, password: str | None = None) -> None:
        self.runs = runs
        self.hosts = LOOPBACK if host in LOOPBACK else None
        self.authorization = f"Basic {base64.b64encode(password.encode()).decode()}" if password else None
        super().__init__((host, port), Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print what ended a request, unless the connection broke, which is no news for the terminal."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: RunsServer
    server_version, sys_version = "ssb", ""
    timeout = 30  # seconds for a request to arrive

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are not logged."""

    def _answer(self, with_body: bool) -> None:
        status, kind, body = self._content()
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="ssb"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            with suppress(ConnectionError):
                self.wfile.write(body)

    def _content(self) -> tuple[HTTPStatus, str, bytes]:
        """The status, the content type and the body."""
        if not self._from_here():
            return _plain(HTTPStatus.FORBIDDEN, "open this server by the address that ssb serve-local printed")
        required = self.server.authorization
        if required and not hmac.compare_digest(self.headers.get("Authorization", "").encode(), required.encode()):
            return _plain(HTTPStatus.UNAUTHORIZED, "a password is needed: that of the Prefect server")
        try:
            path = urlsplit(self.path).path
        except ValueError:  # a whole address with a bad host
            return _plain(HTTPStatus.BAD_REQUEST, "this address cannot be read")
        parts = [unquote(part) for part in path.removeprefix("/").split("/")]
        if parts == [""]:
            return HTTPStatus.OK, KINDS[".html"], _list_of(self.server.runs)
        body = read_file(self.server.runs, *parts) if len(parts) == 2 else None
        if body is None:
            return _plain(HTTPStatus.NOT_FOUND, "there is no such file of a run; / lists the runs")
        return HTTPStatus.OK, KINDS[Path(parts[1]).suffix], body

    def _from_here(self) -> bool:
        """Whether the browser asked for this machine, where only it is served.

        Otherwise a page of another site could let its own name point here, and read the reports.
        """
        if self.server.hosts is None:
            return True
        with suppress(ValueError):
            return urlsplit(f"//{self.headers.get('Host', '')}").hostname in self.server.hosts
        return False


def _plain(status: HTTPStatus, text: str) -> tuple[HTTPStatus, str, bytes]:
    return status, "text/plain; charset=utf-8", f"{text}\n".encode()


def read_file(runs: Path, run: str, name: str) -> bytes | None:
    """The bytes of one file of a run; None if there is none, or it is not served."""
    if Path(name).suffix not in KINDS or not (_is_name(run) and _is_name(name)):
        return None
    with suppress(OSError):
        folder = os.open(runs / run, NOFOLLOW | os.O_DIRECTORY)
        try:
            with open(os.open(name, NOFOLLOW, dir_fd=folder), "rb") as file:
                return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
        finally:
            os.close(folder)
    return None


def _is_name(part: str) -> bool:
    """Whether a part of a path names a file or folder itself, and no hidden one."""
    return bool(part) and not part.startswith(".") and "/" not in part and "\0" not in part


def _list_of(runs: Path) -> bytes:
    """A page with a link to the report of every run, the latest first."""
    found: list[tuple[float, str]] = []
    with suppress(OSError):
        for folder in os.scandir(runs):
            with suppress(OSError):
                report = os.stat(Path(folder.path, "report.html"), follow_symlinks=False)
                if _is_name(folder.name) and folder.is_dir(follow_symlinks=False) and stat.S_ISREG(report.st_mode):
                    found.append((report.st_mtime, folder.name))
    items = "".join(
        f'<li><a href="{escape(report_path(name))}">{escape(name)}</a></li>' for _, name in sorted(found, reverse=True)
    )
    title = "Reports of the runs, the latest first" if items else "No run is finished yet"
    page = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs</title><h1>{title}</h1><ul>{items}</ul>'
    return page.encode(errors="replace")


def report_path(run: str) -> str:
    """The path of a run's report on this server."""
    return f"/{quote(run, safe='')}/report.html"


@contextmanager
def serving(runs: Path, host: str, port: int, password: str | None) -> Iterator[None]:
    """Serve the folder `runs` while the block runs.

    Raises:
        OSError: the port cannot be used.
    """
    with RunsServer(runs, host, port, password) as server:
        thread = threading.Thread(target=server.serve_forever, name="runs", daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
