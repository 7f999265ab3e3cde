"""Prefect's temporary server must not outlive the run that it was started for.

Prefect stops it when Python exits. Who is killed (SIGKILL, no memory left, a closed terminal) does not come to that, so
a shell watches over each server: it waits at the end of a pipe that only this process holds open, and kills the server
when the kernel closes it.
"""

from __future__ import annotations

import subprocess
from typing import Any

from prefect.server.api.server import SubprocessASGIServer

WATCH = "read -r _; kill -9 $0 2>/dev/null"


class Watched(SubprocessASGIServer):
    """The one temporary server of this process, once it is made: Prefect keeps one for all that ask for it."""

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        server = super()._run_uvicorn_command()
        self.watch = subprocess.Popen(
            ["/bin/sh", "-c", WATCH, str(server.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C in a terminal is not for it
        )
        return server
