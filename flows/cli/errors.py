"""The end of a command that fails: its message and its exit code."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from . import interruption


@contextmanager
def clean_errors(
    interrupted: str = "interrupted; finished shards are kept, and the same command continues from there",
    grace: float = interruption.GRACE,
) -> Iterator[None]:
    """Print an error that the user can fix as one message, without a traceback, and exit.

    The exit code is 2 for wrong input, 1 for other errors, 130 after Ctrl-C, 143 after SIGTERM and 129 after SIGHUP.
    After one of these signals the message is `interrupted`, whatever error the clean-up ends with, and the process
    ends within `grace` seconds.
    """
    with interruption.handling() as signals:
        try:
            with signals.cleaning_up(interrupted, grace):
                yield
        except KeyboardInterrupt:
            signals.tell()
            raise typer.Exit(signals.code) from None
        except BaseException as e:
            if signals.number is None:
                if (code := _report(e)) is None:
                    raise
                raise typer.Exit(code) from None
        if signals.number is not None:
            signals.tell()
            raise typer.Exit(signals.code)


def _report(error: BaseException) -> int | None:
    """Print the message of an error that the user can fix, and return the exit code. None for other errors."""
    from ssb_core.errors import ConfigError, SSBError, refused

    if isinstance(error, SSBError):
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    if isinstance(error, OSError) and not isinstance(error, BrokenPipeError):  # nobody would read about a closed pipe
        name = error.filename if isinstance(error.filename, str) else ""
        message = refused(error, Path(name or ".")) or f"{name or 'the operating system'}: {error.strerror or error}"
        print(f"error: {message}", file=sys.stderr)
        return 1
    return None
