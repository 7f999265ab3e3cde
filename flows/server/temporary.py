"""Prefect's temporary server ends with the run that it was started for, even if the run is killed.

Prefect stops the server when Python exits. A killed process (SIGKILL, no memory left, a closed terminal) never gets
there. So a shell watches each server: it reads from a pipe that only this process holds open, and kills the server when
the kernel closes the pipe.
"""

from __future__ import annotations

import subprocess
from typing import Any

from prefect.server.api.server import SubprocessASGIServer

WATCH = "read -r _; kill -9 $0 2>/dev/null"


class Watched(SubprocessASGIServer):
    """A temporary server with such a shell. Prefect keeps one server per process: make this one before Prefect does."""

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        server = super()._run_uvicorn_command()
        self.watch = subprocess.Popen(
            ["/bin/sh", "-c", WATCH, str(server.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # so that Ctrl-C in a terminal does not reach the shell
        )
        return server
