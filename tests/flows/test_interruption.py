"""Signals at moments that a real run meets rarely: the end of a clean-up that hangs, destructors, other handlers."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.support.processes import ROOT, SSB
from tests.support.served import until
from tests.support.terminal import caught

START = """
import os, signal, sys, time, typer
from flows.cli import interruption
interruption.handle_to_the_end()
from flows.cli.errors import clean_errors
def ready(): print("ready", flush=True)
def command():
    with clean_errors("stopped", grace=1):
"""
PROGRAMS = {
    "a clean-up that hangs": """
try: ready(); time.sleep(60)
finally: time.sleep(60)""",
    "a clean-up that fails": """
try: ready(); time.sleep(60)
finally: raise OSError(5, "the server is lost")""",
    "a destructor": """
class Slow:
    def __del__(self): ready(); time.sleep(60)
Slow()
time.sleep(60)""",
    "an error that is swallowed": """
try: ready(); time.sleep(60)
except BaseException: pass""",
    "a library's own handler": """
signal.signal(signal.SIGTERM, lambda *_: None)
signal.signal(signal.SIGHUP, lambda *_: None)
ready(); time.sleep(60)""",
    "another thread that waits for ever": """
import threading
threading.Thread(target=time.sleep, args=(60,)).start()
ready(); time.sleep(60)""",
}


def code(body: str) -> str:
    """A program with one command, which runs `body` within `clean_errors`."""
    return START + textwrap.indent(body, " " * 8) + "\ntyper.run(command)\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("where", PROGRAMS)
def test_one_message_and_the_code_of_the_signal_after_three_of_them(where: str, number: signal.Signals) -> None:
    program = subprocess.Popen([sys.executable, "-c", code(PROGRAMS[where])], cwd=ROOT, stdout=-1, stderr=-1, text=True)
    assert program.stdout and program.stdout.readline() == "ready\n"
    began = time.monotonic()
    for _ in range(3):
        program.send_signal(number)
    _, errors = program.communicate(timeout=30)
    assert (program.returncode, errors) == (128 + number, "stopped\n")
    assert time.monotonic() - began < 10


def test_a_forked_process_dies_of_the_signal_and_its_parent_goes_on() -> None:
    body = """
reading, writing = os.pipe()
if (child := os.fork()) == 0:
    os.write(writing, b"1")
    time.sleep(60)
os.read(reading, 1)
os.kill(child, signal.SIGTERM); print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])); time.sleep(2)"""
    done = subprocess.run([sys.executable, "-c", code(body)], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{-signal.SIGTERM}\n", "")


def test_under_nohup_a_closed_terminal_changes_nothing(alone: dict[str, str], tmp_path: Path) -> None:
    grade = subprocess.Popen(
        ["nohup", *SSB, "grade", "-"], env=alone, cwd=tmp_path, stdin=-1, stdout=-1, stderr=-1, text=True
    )
    until(lambda: signal.SIGTERM in caught(grade.pid), 20)
    assert signal.SIGHUP in caught(grade.pid, "SigIgn")
    grade.send_signal(signal.SIGHUP)
    verdicts, errors = grade.communicate('{"gold": "1", "completion": "\\\\boxed{1}"}\n', timeout=30)
    assert grade.returncode == 0 and '"correct"' in verdicts, errors
