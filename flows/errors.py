"""How a command ends when something goes wrong."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def clean_errors(
    interrupted: str = "interrupted; finished shards are kept, the same command goes on from there",
) -> Iterator[None]:
    """What the user can mend is told in one message: exit code 2 for input, 1 for the store, 130 for Ctrl-C."""
    from ssb_core.config import ConfigError
    from ssb_core.engines import EngineError
    from ssb_core.stages.host import StageError
    from ssb_core.store import StoreError

    try:
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
        print(f"error: {e.filename or 'the operating system'}: {e.strerror or e}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print(interrupted, file=sys.stderr)
        raise typer.Exit(130) from None
