"""Prefect's temporary server ends with the run that it was started for, even if the run is killed, and not before.

Prefect stops the server when Python exits. A killed process (SIGKILL, no memory left) never gets there. So a shell
watches each server: it reads from a pipe that only this process holds open, and kills the server when the kernel closes
the pipe.

Server and shell have sessions of their own. Ctrl-C, a closed terminal and `timeout` send their signal to the whole
process group of a command, and a run needs the server to the last, to report how it ended. A server that is killed
although the run goes on is started again; Prefect's client tries its requests again for half a minute.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any

import prefect
from prefect.server.api.server import SubprocessASGIServer
from prefect.settings import get_current_settings

WATCH = "read -r _; kill -9 $0 2>/dev/null"
TEMPORARY = {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
RESTARTS = 3  # a server that is killed more often is given up


class Watched(SubprocessASGIServer):
    """A temporary server with such a shell. Prefect keeps one server per process: make this one before Prefect does."""

    stopped = False
    restarts = 0

    def stop(self) -> None:
        self.stopped = True
        super().stop()

    def _run_uvicorn_command(self) -> subprocess.Popen[Any]:
        """Start the server as the base class does, but in a session of its own, which that one cannot be told."""
        settings = get_current_settings().to_environment_variables(exclude_unset=True)
        serve = [sys.executable, "-m", "uvicorn", "--app-dir", str(prefect.__module_path__.parent)]
        serve += ["--factory", "prefect.server.api.server:create_app", "--host", "127.0.0.1", "--port", str(self.port)]
        serve += ["--log-level", "error", "--lifespan", "on"]
        server = subprocess.Popen(serve, env={**os.environ, **TEMPORARY, **settings}, start_new_session=True)
        watch = subprocess.Popen(
            ["/bin/sh", "-c", WATCH, str(server.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        threading.Thread(target=self._start_again, args=(server, watch), daemon=True).start()
        return server

    def _start_again(self, server: subprocess.Popen[Any], watch: subprocess.Popen[Any]) -> None:
        """Wait until the server ends, and start it again if a signal has killed it that `stop` has not sent."""
        killed = server.wait() < 0
        watch.kill()  # another process may get the server's id
        watch.wait()
        if killed and not self.stopped and self.restarts < RESTARTS:
            self.restarts += 1
            self.server_process = self._run_uvicorn_command()
