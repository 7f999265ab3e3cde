"""Which failures another try may get past, and which somebody has to mend first."""

from __future__ import annotations

BUSY = 429  # HTTP: too many requests
BY_NAME = {"OutOfMemoryError", "TransportError", "ConnectionError", "Timeout"}
"""Of torch, httpx and requests, which need not be loaded to be asked for."""


def may_pass(error: BaseException) -> bool:
    """Whether the same work may succeed when it is tried again.

    So may what died (an engine, a process), ran out of memory, or got no good answer over a network. Everything else,
    a bad configuration, bad data, a full disk or a fault in the code, would fail the same way. An exception can say
    itself what it is, by an attribute `transient`.
    """
    said = getattr(error, "transient", None)
    if said is not None:
        return bool(said)
    if isinstance(error, (MemoryError, ConnectionError, TimeoutError)):
        return True
    if {kind.__name__ for kind in type(error).__mro__} & BY_NAME:
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)  # of httpx and requests alike
    return isinstance(status, int) and (status == BUSY or status >= 500)
