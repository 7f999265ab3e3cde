"""How a command ends when something goes wrong."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does."""


@contextmanager
def clean_errors(
    interrupted: str = "interrupted; finished shards are kept, the same command goes on from there",
) -> Iterator[None]:
    """What the user can mend is told in one message: exit code 2 for input, 1 for the store.

    Ctrl-C ends with 130, SIGTERM with 143, and `interrupted` is told.
    """
    from ssb_core.errors import ConfigError, EngineError, StageError, StoreError, refused

    try:
        with _terminable():
            yield
    except ConfigError as e:
        print(f"error: {e}", file=sys.stderr)
        raise typer.Exit(2) from None
    except (StoreError, EngineError, StageError) as e:
        print(f"error: {e}", file=sys.stderr)
        raise typer.Exit(1) from None
    except BrokenPipeError:
        raise  # who reads our output has seen enough; the program ends without a word
    except OSError as e:
        name = e.filename if isinstance(e.filename, str) else ""
        told = refused(e, Path(name or ".")) or f"{name or 'the operating system'}: {e.strerror or e}"
        print(f"error: {told}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt as e:
        print(interrupted, file=sys.stderr)
        raise typer.Exit(143 if isinstance(e, Terminated) else 130) from None


@contextmanager
def _terminable() -> Iterator[None]:
    """Raise `Terminated` in the block at SIGTERM; Prefect, which takes the signal while a flow runs, hands it on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(*_: object) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what ends now is not to be broken off
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
