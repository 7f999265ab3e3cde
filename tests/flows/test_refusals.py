"""Wrong input is refused with one message and exit code 2, before any work."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ssb_core.models import NANO
from tests.support.processes import run_ssb

BAD_DATA = {
    "empty.jsonl": "",
    "unanswered.jsonl": '{"question": "1+1?"}\n',
    "ungradable.jsonl": '{"question": "1+1?", "answer": " "}\n',
    "broken.jsonl": '{"question": "1+1?", "answer": "2"}\n{\n',
}


REFUSED = [
    (["--preset", "nope"], "no preset 'nope'; choose one of: paper, quickstart"),
    (["--config", "none.yaml"], "cannot read the configuration none.yaml"),
    ([], "give either a preset"),
    (["--preset", "quickstart", "--set", "rollouts.smaples=8"], "rollouts.smaples: no such field"),
    (["--preset", "quickstart", "--set", "rollouts.samples=four"], "rollouts.samples"),
    (["--preset", "quickstart", "--set", "model.source=./nowhere"], "'./nowhere' is not a directory"),
    (["--preset", "quickstart", "--set", "problems.source=none.jsonl"], "none.jsonl does not exist"),
    (["--preset", "quickstart", "--set", "problems.source=empty.jsonl"], "empty.jsonl contains no problems"),
    (["--preset", "quickstart", "--set", "problems.source=unanswered.jsonl"], "line 1: no field 'answer'"),
    (["--preset", "quickstart", "--set", "problems.source=ungradable.jsonl"], "(1 of 1 problems are unverifiable)"),
    (["--preset", "quickstart", "--set", "problems.source=broken.jsonl"], "line 2: not valid JSON"),
    (["--preset", "quickstart", "--set", "evaluate.benchmarks.0.source=none.jsonl"], "none.jsonl does not exist"),
    (["--preset", "quickstart", "--from", "distill"], "--from distill: rollouts wave 1 is not in store"),
    (["--preset", "quickstart", "--from", "teach", "--to", "select"], "--from teach comes after --to select"),
    (["--preset", "quickstart", "--name", "../x"], "--name '../x'"),
    (["--preset", "quickstart", "--name", "x" * 300], "up to 100 printable letters"),
    (["--preset", "quickstart", "--store", "empty.jsonl"], "empty.jsonl is a file; results need a directory"),
    (["--preset", "quickstart", "--store", "empty.jsonl/below/it"], "--store: "),
    (["--preset", "quickstart", "--store", "gone"], "gone is a broken link"),
    (["--preset", "quickstart", "--store", "/proc/1/ssb"], "this user cannot write to /proc/1 ("),
    (["--preset", "quickstart", "--runs", "empty.jsonl/below/it"], "--runs: "),
    (["--preset", "quickstart", "--runs", "taken", "--name", "mine"], "taken/mine is a file"),
    (["--preset", "quickstart", "--runs", "/proc/1/ssb"], "remedy: choose another folder with --runs DIR"),
    (["--preset", "quickstart", "--set", "execution.device=mps"], "execution.device is mps, but this machine has none"),
    (["--preset", "quickstart", "--set", "model.source=./plain"], "has no chat template"),
    (["--preset", "quickstart", "--set", "model.source=./hollow"], "hollow cannot be used"),
    (["--preset", "quickstart", "--set", "evaluate.max_new_tokens=1000"], "the model's context is 1024 tokens"),
    (["--preset", "quickstart", "--from", "teach", "--force", "rollouts"], "--force rollouts is outside of"),
    (["--preset", "quickstart", "--force", "learn"], "Invalid value"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of unusable input: problem sets, a model without a chat template, and one without weights."""
    for name, text in BAD_DATA.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine").touch()
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "model.safetensors").touch()
    shutil.copytree(NANO, tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    return tmp_path


def refused(done: subprocess.CompletedProcess[str], message: str, folder: Path) -> bool:
    """Assert that a command ended with this message, and return whether it left nothing behind."""
    assert done.returncode == 2 and message in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return not (folder / "store").exists() and not (folder / "runs").exists()


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_wrong_input_is_refused_before_any_work(
    arguments: list[str], message: str, ssb_here: Callable[..., Any], folder: Path
) -> None:
    assert refused(ssb_here("run", *arguments, cwd=folder), message, folder)


@pytest.mark.parametrize(("arguments", "message"), [REFUSED[0], REFUSED[10], REFUSED[-1]])  # a setting, data, an option
def test_a_process_that_refuses_prints_only_the_message(
    arguments: list[str], message: str, alone: dict[str, str], folder: Path
) -> None:
    assert refused(run_ssb("run", *arguments, env=alone | {"HF_HUB_OFFLINE": "1"}, cwd=folder), message, folder)


@pytest.mark.parametrize("command", [["show", "nano-train-0000"], ["report"], ["report", "other"]])
def test_a_run_that_does_not_exist_is_refused(command: list[str], ssb_here: Callable[..., Any], tmp_path: Path) -> None:
    done = ssb_here(*command, cwd=tmp_path)
    assert done.returncode == 2 and "there is no finished run" in done.stderr


def test_a_run_name_with_a_slip_is_refused_with_the_one_that_is_meant(
    ssb_here: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "runs" / "first-try").mkdir(parents=True)
    (tmp_path / "runs" / "first-try" / "summary.json").write_text("{}")
    done = ssb_here("report", "frist-try", cwd=tmp_path)
    assert done.returncode == 2 and "did you mean 'first-try'?" in done.stderr
