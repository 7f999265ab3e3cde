"""Commands in a real terminal: Ctrl-C, SIGTERM and SIGHUP reach the whole process group, as a user's do."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from ssb_core.config import presets
from ssb_core.store import Store
from tests.support import run_files
from tests.support.processes import ROOT, SSB, quickstart
from tests.support.runs import run_stages
from tests.support.settings import FAST
from tests.support.terminal import Ended, Terminal

KEPT = "interrupted; finished shards are kept, and the same command continues from there"
GUARDED = os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support" / "torch_guard")))
ISOLATED = ("execution.isolate=always",)


def assert_interrupted(ended: Ended, code: int) -> None:
    """The command ended by a signal, in time and with its one message."""
    assert ended.code == code and "Traceback" not in ended.output, ended
    assert ended.output.count(KEPT) == (code != 128 + signal.SIGHUP), ended.output[-2000:]  # no terminal, no message
    assert ended.seconds < 10, ended.seconds


def interrupt_everywhere(
    stages: Sequence[tuple[str, Sequence[str], Callable[[Terminal], None], int]],
    settings: Sequence[str],
    env: dict[str, str],
    folder: Path,
) -> None:
    """Interrupt a run in each stage, finish it, and compare it with an undisturbed one."""

    def start(*more: str) -> Terminal:
        command = [*SSB, *quickstart("run", (*settings, *more), "--name", "run")]
        return Terminal(command, env, folder / "user", str(folder))

    (folder / "user").mkdir()
    before: dict[str, run_files.Stamp] = {}
    for shown, more, interrupt, code in stages:
        run = start(*more)
        run.until_shown(shown)
        interrupt(run)
        assert_interrupted(run.end(), code)
        after = run_files.finished_files(folder / "user")
        assert not run_files.made_again(before, after)
        before = after
    done = start().end()
    assert done.code == 0, done.output
    assert not run_files.made_again(before, run_files.finished_files(folder / "user"))
    config, reference = presets.load_config("quickstart", overrides=settings), folder / "reference"
    run_stages(config, Store(reference / "store"), reference / "runs" / "run")
    assert run_files.run_results(folder / "user") == run_files.run_results(reference)


def test_a_run_that_is_interrupted_again_and_again_has_the_numbers_of_an_undisturbed_one(
    alone: dict[str, str], tmp_path: Path
) -> None:
    notes = tmp_path / "torch"
    env = {name: value for name, value in alone.items() if name != "GOMP_SPINCOUNT"}
    env |= {"PYTHONPATH": GUARDED, "SSB_TEST_TORCH": str(notes)}
    stages: list[tuple[str, Sequence[str], Callable[[Terminal], None], int]] = [
        ("rollouts", ISOLATED, lambda run: run.press(3), 130),
        ("distill", (), lambda run: run.send(signal.SIGTERM), 143),
        ("evaluate base", (), lambda run: run.close(), 129),
    ]
    interrupt_everywhere(stages, FAST, env, tmp_path)
    values, commands = zip(*(line.split(" ", 1) for line in notes.read_text().splitlines()), strict=True)
    assert set(values) == {"1000"}
    assert any("flows.cli run" in c for c in commands) and any("ssb_core.stages" in c for c in commands)


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_the_whole_quickstart_is_interrupted_in_every_stage(alone: dict[str, str], tmp_path: Path) -> None:
    stages: list[tuple[str, Sequence[str], Callable[[Terminal], None], int]] = []
    for shown in ("rollouts", "teach", "capture", "distill", "evaluate base", "evaluate ssb"):
        stages += [(shown, (), lambda run: run.press(), 130), (shown, ISOLATED, lambda run: run.press(3), 130)]
    # Nothing that several processes train may be left when one goes on: their sums are rounded in another order.
    several = ("execution.train_processes=2", "distill.save_steps=500")
    stages[6:6] = [("distill", several, lambda run: run.press(3), 130)]
    interrupt_everywhere(stages, (), alone, tmp_path)


@pytest.mark.parametrize("pause", [0.0, 0.4, 1.2])
def test_three_presses_while_a_run_starts_end_it_with_the_message(
    pause: float, alone: dict[str, str], tmp_path: Path
) -> None:
    run = Terminal([*SSB, *quickstart("run", FAST)], alone, tmp_path, str(tmp_path))
    run.until_handled()
    run.read(pause)
    run.press(3, pause=0.05)
    ended = run.end()
    assert (ended.code, ended.output.count("interrupted"), "Traceback" in ended.output) == (130, 1, False), ended


@pytest.mark.parametrize("command", ["plan", "doctor", "verify", "gc", "grade -", "export adapter x", "compare a b"])
def test_every_long_command_ends_with_its_message(command: str, alone: dict[str, str], tmp_path: Path) -> None:
    run = Terminal([*SSB, *command.split()], alone, tmp_path, str(tmp_path))
    run.until_handled()
    run.press(3, pause=0.01)
    ended = run.end()
    assert (ended.code, ended.output.count("interrupted"), "Traceback" in ended.output) == (130, 1, False), ended
