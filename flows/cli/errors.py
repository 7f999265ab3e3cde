"""The end of a command that fails: its message and its exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer


class Terminated(KeyboardInterrupt):
    """The process got SIGTERM. It ends a command as Ctrl-C does."""


@contextmanager
def clean_errors(
    interrupted: str = "interrupted; finished shards are kept, and the same command continues from there",
) -> Iterator[None]:
    """Print an error that the user can fix as one message, without a traceback, and exit.

    The exit code is 2 for wrong input, 1 for other errors, 130 after Ctrl-C and 143 after SIGTERM. After an
    interruption the message is `interrupted`.
    """
    from ssb_core.errors import ConfigError, SSBError, refused

    try:
        with _raise_on_sigterm():
            yield
    except SSBError as e:
        print(f"error: {e}", file=sys.stderr)
        raise typer.Exit(2 if isinstance(e, ConfigError) else 1) from None
    except BrokenPipeError:
        raise  # the reader of our output has closed the pipe; the program ends without a message
    except OSError as e:
        name = e.filename if isinstance(e.filename, str) else ""
        message = refused(e, Path(name or ".")) or f"{name or 'the operating system'}: {e.strerror or e}"
        print(f"error: {message}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt as e:
        print(interrupted, file=sys.stderr)
        raise typer.Exit(143 if isinstance(e, Terminated) else 130) from None


@contextmanager
def _raise_on_sigterm() -> Iterator[None]:
    """Raise `Terminated` in the block on SIGTERM. While a flow runs, Prefect handles the signal and passes it on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second signal must not interrupt the clean-up
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
