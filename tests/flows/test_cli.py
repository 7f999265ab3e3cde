"""The command line: instant help, and clear refusals with exit code 2."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from ssb_core.models import NANO
from tests.processes import run_ssb


def test_help_answers_in_under_half_a_second(alone: dict[str, str], tmp_path: Path) -> None:
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        done = run_ssb("--help", env=alone, cwd=tmp_path)
        seconds.append(time.perf_counter() - started)
        assert done.returncode == 0 and "quickstart" in done.stdout
    assert min(seconds) < 0.5


BAD_DATA = {
    "empty.jsonl": "",
    "unanswered.jsonl": '{"question": "1+1?"}\n',
    "broken.jsonl": '{"question": "1+1?", "answer": "2"}\n{\n',
}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--preset", "nope"], "no preset 'nope'; choose one of: paper, quickstart"),
        (["--config", "none.yaml"], "cannot read the configuration none.yaml"),
        ([], "give either a preset"),
        (["--preset", "quickstart", "--set", "rollouts.smaples=8"], "rollouts.smaples: no such field"),
        (["--preset", "quickstart", "--set", "rollouts.samples=four"], "rollouts.samples"),
        (["--preset", "quickstart", "--set", "model.source=./nowhere"], "'./nowhere' is not a directory"),
        (["--preset", "quickstart", "--set", "problems.source=none.jsonl"], "none.jsonl does not exist"),
        (["--preset", "quickstart", "--set", "problems.source=empty.jsonl"], "empty.jsonl holds no problems"),
        (["--preset", "quickstart", "--set", "problems.source=unanswered.jsonl"], "line 1: no field 'answer'"),
        (["--preset", "quickstart", "--set", "problems.source=broken.jsonl"], "line 2: not valid JSON"),
        (["--preset", "quickstart", "--set", "evaluate.benchmarks.0.source=none.jsonl"], "none.jsonl does not exist"),
        (["--preset", "quickstart", "--from", "distill"], "--from distill: rollouts wave 1 is not in store"),
        (["--preset", "quickstart", "--from", "teach", "--to", "select"], "--from teach comes after --to select"),
        (["--preset", "quickstart", "--name", "../x"], "--name '../x'"),
        (["--preset", "quickstart", "--name", "x" * 300], "up to 100 letters"),
        (["--preset", "quickstart", "--store", "empty.jsonl"], "empty.jsonl is a file"),
        (["--preset", "quickstart", "--set", "execution.device=mps"], "execution.device is mps, but there is none"),
        (["--preset", "quickstart", "--set", "model.source=./plain"], "has no chat template"),
        (["--preset", "quickstart", "--set", "model.source=./hollow"], "hollow cannot be used"),
        (["--preset", "quickstart", "--set", "evaluate.max_new_tokens=1000"], "the model's context is 1024 tokens"),
        (["--preset", "quickstart", "--from", "teach", "--force", "rollouts"], "--force rollouts lies outside"),
        (["--preset", "quickstart", "--force", "learn"], "Invalid value"),
    ],
)
def test_wrong_input_is_refused_before_any_work(
    arguments: list[str], said: str, alone: dict[str, str], tmp_path: Path
) -> None:
    for name, text in BAD_DATA.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "a.safetensors").touch()
    shutil.copytree(NANO, tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    done = run_ssb("run", *arguments, env=alone | {"HF_HUB_OFFLINE": "1"}, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert said in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    assert not (tmp_path / "store").exists() and not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", [["show", "nano-train-0000"], ["report"], ["report", "other"]])
def test_asking_for_a_run_that_is_not_there_is_refused(
    command: list[str], alone: dict[str, str], tmp_path: Path
) -> None:
    done = run_ssb(*command, env=alone, cwd=tmp_path)
    assert done.returncode == 2 and "there is no finished run" in done.stderr


def test_the_plan_needs_no_server_and_changes_nothing(alone: dict[str, str], tmp_path: Path) -> None:
    done = run_ssb("plan", "--preset", "quickstart", env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rollouts wave 1" in done.stdout and "missing" in done.stdout
    assert list(tmp_path.iterdir()) == []
