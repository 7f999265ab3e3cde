"""The sandbox process: it computes keys of closed forms until its parent hangs up. `sandbox` is the other end."""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

from .latex import OutOfBoundsError

MEMORY_BYTES = 2**30


def main() -> None:
    """Compute the closed forms that arrive on the socket whose file descriptor is the first argument."""
    from . import closed_form  # loads SymPy and the parser

    _limit_memory_and_files()
    signal.signal(signal.SIGPROF, signal.SIG_DFL)  # the deadline uses it, whatever the caller did with it
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGPROF})
    closed_form.warm_up()
    with socket.socket(fileno=int(sys.argv[1])) as parent, contextlib.suppress(OSError):
        parent.sendall(b"\n")  # ready
        for line in parent.makefile("rb"):
            work = json.loads(line)
            signal.setitimer(signal.ITIMER_PROF, work["deadline"])  # SIGPROF kills the process at the deadline
            reply = {"number": work["number"], **_compute(closed_form.key, work["closed_forms"])}
            signal.setitimer(signal.ITIMER_PROF, 0)
            parent.sendall(json.dumps(reply).encode() + b"\n")


def _compute(key: Callable[[str], str | None], closed_forms: Sequence[str]) -> dict[str, Any]:
    try:
        return {"keys": [key(c) for c in closed_forms], "status": None}
    except OutOfBoundsError:
        return {"keys": [], "status": "rejected"}
    except MemoryError:
        return {"keys": [], "status": "crashed"}


def _limit_memory_and_files() -> None:
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_NOFILE, 16)


def _limit(resource_id: int, most: int) -> None:
    hard = resource.getrlimit(resource_id)[1]
    with contextlib.suppress(ValueError, OSError):  # macOS has no limit on address space
        resource.setrlimit(resource_id, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))


if __name__ == "__main__":
    main()
