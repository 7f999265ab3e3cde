"""Ctrl-C (SIGINT), SIGTERM and SIGHUP end a command with one message and the exit code 128 + the signal's number.

Within `Interruption.cleaning_up` the first signal raises `Interrupted`, so that the command can clean up; later ones
change nothing. Outside of it, while modules are imported and when the interpreter ends, there is nothing to clean up,
and a signal ends the process at once. A process that has not ended `GRACE` seconds after the first signal is ended: a
store loses nothing then, and processes that were started notice that their parent is gone.

This module imports only what the interpreter has loaded anyway, because a signal may come while the rest is imported.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 7.0  # seconds in which a command may clean up
SHOW_CURSOR = b"\x1b[?25h\n"  # progress bars hide it


class Interrupted(KeyboardInterrupt):
    """A signal ended the command."""


class Interruption:
    """The handler of the three signals, and what is known about the first of them that came."""

    def __init__(self) -> None:
        self.number: int | None = None
        self.message = "interrupted"
        self.grace = GRACE
        self.raised = self.told = self.cleans_up = self.leaves_ctrl_c = False
        self.owner = os.getpid()

    def __call__(self, number: int, _: object) -> None:
        """Handle a signal. The main thread calls this."""
        if os.getpid() != self.owner:  # a fork, which has nothing to say
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if self.raised:
            return
        self.raised, self.number = True, self.number or number
        if not self.cleans_up:
            self.end()
        raise Interrupted

    @property
    def code(self) -> int:
        """The exit code after the signal."""
        return 128 + (self.number or signal.SIGINT)

    @contextmanager
    def cleaning_up(self, message: str, grace: float = GRACE) -> Iterator[None]:
        """Let a signal raise `Interrupted` in the block. `message` and `grace` are those of the command from now on."""
        self.message, self.grace = message, grace
        try:
            self.cleans_up = True
            yield
        finally:
            self.cleans_up = False

    @contextmanager
    def leave_ctrl_c(self) -> Iterator[None]:
        """Leave Ctrl-C to the block, where it raises KeyboardInterrupt as often as it is pressed."""
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        self.leaves_ctrl_c = True
        try:
            yield
        finally:
            self.leaves_ctrl_c = False
            signal.signal(signal.SIGINT, before)

    def tell(self) -> None:
        """Print the message, once."""
        if not self.told:
            self.told = True
            with suppress(OSError):  # the terminal was closed
                print(self.message, file=sys.stderr, flush=True)

    def end(self) -> NoReturn:
        """Print the message unless it was printed, and end the process without cleaning up."""
        with suppress(Exception):  # a stream that is being written to cannot be flushed
            sys.stdout.flush()
        text = b"" if self.told else f"{self.message}\n".encode()
        with suppress(OSError):
            os.write(2, (SHOW_CURSOR if os.isatty(2) and self.cleans_up else b"") + text)
        os._exit(self.code)

    def watch(self) -> None:
        """End the process `grace` seconds after the first signal, whatever the main thread and other handlers do.

        Prefect and Ray have handlers of their own for SIGTERM, and Python calls none during a long native call.
        """
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))
        threading.Thread(target=self._end_late, args=(reading,), daemon=True).start()

    def _end_late(self, reading: int) -> None:
        while (number := os.read(reading, 1)[0]) not in SIGNALS or (self.leaves_ctrl_c and number == signal.SIGINT):
            pass
        self.number = self.number or number
        time.sleep(self.grace)
        self.end()

    def raise_again(self, unraisable: Any) -> None:
        """Raise `Interrupted` again where Python had to drop it, in a destructor for example (`sys.unraisablehook`)."""
        if not isinstance(unraisable.exc_value, Interrupted):
            sys.__unraisablehook__(unraisable)
            return
        threading.Timer(0.01, self._send_again).start()

    def _send_again(self) -> None:
        self.raised = False
        os.kill(self.owner, self.number or signal.SIGINT)


@contextmanager
def handling() -> Iterator[Interruption]:
    """Handle the signals within the block, by the handler that is installed already if there is one."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    if installed := next((handler for handler in before.values() if isinstance(handler, Interruption)), None):
        yield installed
        return
    try:
        yield install()
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():
                signal.signal(number, handler or signal.SIG_DFL)


def install() -> Interruption:
    """Handle the signals, but not those that the parent has ignored: nohup and shells want them to stay ignored.

    Only the main thread can change handlers; in another one nothing is installed.
    """
    interruption = Interruption()
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, interruption)
    return interruption


def handle_to_the_end() -> None:
    """Handle the signals until the process ends. When the last exit function has run, there is nothing to interrupt."""
    interruption = install()
    interruption.watch()
    sys.unraisablehook = interruption.raise_again
    atexit.register(ignore)


def ignore() -> None:
    """Ignore the signals from now on."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
