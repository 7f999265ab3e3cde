"""Every error that a user can see, whether another try may succeed, and the remedy if not.

    SSBError
      ConfigError      a configuration, file or name that the user gave cannot be used
      StoreError       the store lacks something, or cannot be used
        Damaged        a file of the store is not what was written
        Unreachable    the file system behind a URL did not answer
      EngineError      an engine could not sample
      StageError       a stage's process died, failed or took too long

Errors that never leave their room, such as those of the verifier's parsers, are defined there.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

BUSY = 429  # HTTP: too many requests
BY_NAME = {"OutOfMemoryError", "TransportError", "ConnectionError", "Timeout"}
"""Names of exceptions of torch, Ray, httpx and requests, so that these need not be imported."""

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


class SSBError(Exception):
    """The base of every error that a user can see. Its message says what is wrong, where, and what to do."""


class ConfigError(SSBError, ValueError):
    """A configuration, file or name that the user gave cannot be used. The message names it and the remedy."""


class StoreError(SSBError, RuntimeError):
    """The store does not hold something that it should, or cannot be used."""


class Damaged(StoreError):
    """A file of the store is not what was written. It has been set aside; the same command makes it again."""

    def __init__(self, what: str) -> None:
        """`what` names the file and says what is wrong with it."""
        self.what = what.partition("; ")[0]
        super().__init__(f"{self.what}; it is set aside: run the same command again")


class Unreachable(StoreError):
    """The file system behind a URL did not carry out a request. Another try may succeed."""

    transient = True


class EngineError(SSBError, RuntimeError):
    """An engine could not sample. The message says why, as far as is known, and what to change."""

    transient = True
    """Whether another try may succeed."""


class StageError(SSBError, RuntimeError):
    """A stage's process died, failed or took too long. Finished shards are kept; the message ends with its log."""

    def __init__(self, message: str, transient: bool = False) -> None:
        """`transient` says whether another try may succeed."""
        super().__init__(message)
        self.transient = transient


def may_pass(error: BaseException) -> bool:
    """Whether the same work may succeed when it is tried again.

    It may if an engine or a process died, if memory ran out, or if a network gave no good answer. Anything else, such
    as a bad configuration, bad data, a full disk or a fault in the code, would fail the same way. An attribute
    `transient` of the exception overrides this.
    """
    transient = getattr(error, "transient", None)
    if transient is not None:
        return bool(transient)
    if isinstance(error, (ConnectionError, TimeoutError)) or out_of_memory(error):
        return True
    if {kind.__name__ for kind in type(error).__mro__} & BY_NAME:
        return True
    status = getattr(getattr(error, "response", None), "status_code", None)  # of httpx and requests alike
    return isinstance(status, int) and (status == BUSY or status >= 500)


def out_of_memory(error: BaseException) -> bool:
    """Whether an allocation failed. On most devices only the text of torch's error says so."""
    text = str(error).lower() if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or any(
        words in text for words in ("out of memory", "can't allocate memory", "not enough memory")
    )


def printable(text: str) -> str:
    """`text` with U+FFFD for characters that could control a terminal, are invisible or change the order of others."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text.expandtabs(4))


def refused(error: BaseException, folder: Path) -> str | None:
    """The message, with a remedy, if the operating system refused to open or write a file; None for other errors.

    `folder` is named if the error names no file. Native libraries raise errors of their own, which only their text
    identifies.
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
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
    return shutil.disk_usage(existing).free
