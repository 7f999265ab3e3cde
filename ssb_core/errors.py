"""Which failures another try may get past, and which somebody has to mend first."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

BUSY = 429  # HTTP: too many requests
BY_NAME = {"OutOfMemoryError", "TransportError", "ConnectionError", "Timeout"}
"""Of torch, Ray, httpx and requests, which need not be loaded to be asked for."""

REMEDIES = {
    errno.ENOSPC: "free some",
    errno.EDQUOT: "free some, or have the quota raised",
    errno.EROFS: "mount it for writing, or choose other folders with --store and --runs",
    errno.EACCES: "make it writable for this user, or choose other folders with --store and --runs",
    errno.EPERM: "make it writable for this user, or choose other folders with --store and --runs",
    errno.EMFILE: "raise the limit (ulimit -n)",
    errno.ENFILE: "raise the system's limit (sysctl fs.file-max)",
}
LITTLE = 1 << 20  # bytes free on a disk that counts as full


def may_pass(error: BaseException) -> bool:
    """Whether the same work may succeed when it is tried again.

    So may what died (an engine, a process), ran out of memory, or got no good answer over a network. Everything else,
    a bad configuration, bad data, a full disk or a fault in the code, would fail the same way. An exception can say
    itself what it is, by an attribute `transient`.
    """
    said = getattr(error, "transient", None)
    if said is not None:
        return bool(said)
    if isinstance(error, (ConnectionError, TimeoutError)) or out_of_memory(error):
        return True
    if {kind.__name__ for kind in type(error).__mro__} & BY_NAME:
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)  # of httpx and requests alike
    return isinstance(status, int) and (status == BUSY or status >= 500)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed. On most devices only torch's words tell."""
    said = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or any(
        words in said for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def refused(error: BaseException, folder: Path) -> str | None:
    """What to tell where the operating system would not open or write a file, and the remedy; else None.

    `folder` is where it was, if the error does not say itself. Native libraries raise errors of their own, of which
    only the text tells.
    """
    number = error.errno if isinstance(error, OSError) else _from_text(error, folder)
    if number not in REMEDIES:
        return None
    path = getattr(error, "filename", None) or folder
    left = f" ({_free(folder) / 1e6:,.1f} MB free)" if number in (errno.ENOSPC, errno.EDQUOT) else ""
    return (
        f"{path}: {os.strerror(number)}{left}; what is finished is kept\n"
        f"  remedy: {REMEDIES[number]}, then run the same command again"
    )


def _from_text(error: BaseException, folder: Path) -> int | None:
    text = str(error) if type(error).__name__ in ("SafetensorError", "RuntimeError") else ""
    if "inline_container" in text and _free(folder) < LITTLE:  # torch.save, which does not say why it stopped
        return errno.ENOSPC
    return next((number for number in REMEDIES if os.strerror(number) in text), None)


def _free(folder: Path) -> int:
    """Bytes free for this user where `folder` is, or would be."""
    there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(there).free
