"""Silence for the progress bars of libraries, which would tear ours apart in a terminal and fill logs elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def no_bars() -> Iterator[None]:
    """In this block transformers and the hub's client draw no bars. Afterwards the user's own setting holds again."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
