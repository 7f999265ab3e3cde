"""The command line: instant help, and clear refusals with exit code 2."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import main as cli
from ssb_core.models import NANO
from tests.support.processes import SSB, cpu_of_children, quickstart, run_ssb


def test_help_takes_less_than_half_a_second_of_a_core(alone: dict[str, str], tmp_path: Path) -> None:
    taken = []
    for _ in range(3):
        before = cpu_of_children()
        done = run_ssb("--help", env=alone, cwd=tmp_path, timeout=10)
        taken.append(cpu_of_children() - before)
        assert done.returncode == 0 and "quickstart" in done.stdout
    assert min(taken) < 0.5


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
    (["--preset", "quickstart", "--name", "x" * 300], "up to 100 letters"),
    (["--preset", "quickstart", "--store", "empty.jsonl"], "empty.jsonl is a file"),
    (["--preset", "quickstart", "--set", "execution.device=mps"], "execution.device is mps, but there is none"),
    (["--preset", "quickstart", "--set", "model.source=./plain"], "has no chat template"),
    (["--preset", "quickstart", "--set", "model.source=./hollow"], "hollow cannot be used"),
    (["--preset", "quickstart", "--set", "evaluate.max_new_tokens=1000"], "the model's context is 1024 tokens"),
    (["--preset", "quickstart", "--from", "teach", "--force", "rollouts"], "--force rollouts lies outside"),
    (["--preset", "quickstart", "--force", "learn"], "Invalid value"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with what is refused: problem sets, a model without a chat template, one without weights."""
    for name, text in BAD_DATA.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "hollow").mkdir()
    (tmp_path / "hollow" / "model.safetensors").touch()
    shutil.copytree(NANO, tmp_path / "plain")
    (tmp_path / "plain" / "chat_template.jinja").unlink()
    return tmp_path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Runs the console script in this process; nothing but its exit may leave it."""
    for name in [name for name in os.environ if name.startswith(("PREFECT_", "SSB_"))]:
        monkeypatch.delenv(name)

    def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        monkeypatch.chdir(cwd)
        monkeypatch.setattr(sys, "argv", ["ssb", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return subprocess.CompletedProcess(arguments, ended.value.code, *capsys.readouterr())  # type: ignore[arg-type]

    return run


def refused(done: subprocess.CompletedProcess[str], said: str, folder: Path) -> bool:
    """Whether a command ended with this message, and without a trace of having begun."""
    assert done.returncode == 2 and said in " ".join(done.stderr.split()), done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return not (folder / "store").exists() and not (folder / "runs").exists()


@pytest.mark.parametrize(("arguments", "said"), REFUSED)
def test_wrong_input_is_refused_before_any_work(
    arguments: list[str], said: str, here: Callable[..., Any], folder: Path
) -> None:
    assert refused(here("run", *arguments, cwd=folder), said, folder)


@pytest.mark.parametrize(("arguments", "said"), [REFUSED[0], REFUSED[10], REFUSED[-1]])  # of settings, data, options
def test_a_process_that_refuses_ends_with_the_message_alone(
    arguments: list[str], said: str, alone: dict[str, str], folder: Path
) -> None:
    assert refused(run_ssb("run", *arguments, env=alone | {"HF_HUB_OFFLINE": "1"}, cwd=folder), said, folder)


@pytest.mark.parametrize("command", [["show", "nano-train-0000"], ["report"], ["report", "other"]])
def test_asking_for_a_run_that_is_not_there_is_refused(
    command: list[str], here: Callable[..., Any], tmp_path: Path
) -> None:
    done = here(*command, cwd=tmp_path)
    assert done.returncode == 2 and "there is no finished run" in done.stderr


def test_the_plan_needs_no_server_and_changes_nothing(alone: dict[str, str], tmp_path: Path) -> None:
    done = run_ssb("plan", "--preset", "quickstart", env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rollouts wave 1" in done.stdout and "missing" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_plan_names_problems_left_out_for_their_gold(here: Callable[..., Any], tmp_path: Path) -> None:
    for name, bad in (("mine", 5), ("held-out", 1)):
        answers = ["2", *[" "] * bad]
        rows = "".join(json.dumps({"question": "1+1?", "answer": a}) + "\n" for a in answers)
        (tmp_path / f"{name}.jsonl").write_text(rows)
    sets = ["problems={source: mine.jsonl}", "evaluate.benchmarks=[{name: held, source: held-out.jsonl}]"]
    done = here(*quickstart("plan", sets), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "note: mine.jsonl: 5 problems left out, reference answer cannot be used: 'mine-00002' (it is empty), "
        "'mine-00003' (it is empty), 'mine-00004' (it is empty); the run's report.html lists all\n"
        "note: benchmark held: 1 problem left out, reference answer cannot be used: 'held-out-00002' (it is empty); "
        "see the run's report.html\n"
        "warning: 1 of held's problems is also among the training problems: 'held-out-00001' (as 'mine-00001'). "
        "the run's report.html lists all\n"
    )


PAIRS = (
    '{"id": 7, "gold": "1/2", "completion": "Half of them: \\\\boxed{0.5}."}\n'
    '{"id": 8, "gold": "", "completion": "\\\\boxed{3}"}\n'
    '{"id": 9, "gold": "6 * 7\\n#### 42", "completion": "It is 42."}\n'
)


def test_grade_prints_a_verdict_for_each_pair_and_tells_the_sum_on_stderr(
    alone: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(PAIRS)
    done = run_ssb("grade", "in.jsonl", env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    assert [(r["id"], r["status"]) for r in rows] == [(7, "correct"), (8, "rejected"), (9, "no_answer")]
    told = [line.split()[0] for line in done.stderr.split("\n")[:-1]]
    assert told == ["graded", "accuracy", "string", "verdicts", "speed", "bad", "versions"]
    assert "2 of 3 pairs, form boxed" in done.stderr and "line 2 (it is empty)" in done.stderr


def test_grade_reads_standard_input_and_writes_a_file(alone: dict[str, str], tmp_path: Path) -> None:
    command = [*SSB, "grade", "-", "--form", "choice", "--out", "out.jsonl"]
    text = '{"gold": "(B)", "completion": "\\\\boxed{b}"}\n'
    done = subprocess.run(command, input=text, env=alone, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert json.loads((tmp_path / "out.jsonl").read_text())["status"] == "correct"


@pytest.mark.parametrize("source", ["in.jsonl", "-"])
def test_grade_refuses_a_bad_line_with_its_number_and_leaves_no_file(
    source: str, alone: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "in.jsonl").write_text(PAIRS + '{"gold": "1"}\n')
    with (tmp_path / "in.jsonl").open() as stdin:
        command = [*SSB, "grade", source, "--out", "out.jsonl"]
        done = subprocess.run(command, stdin=stdin, env=alone, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    name = "standard input" if source == "-" else source
    assert done.stderr.startswith(f"error: {name} line 4: no field 'completion'; the fields are: gold\n  remedy: ")
    assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]


def test_grade_interrupted_leaves_no_file(alone: dict[str, str], tmp_path: Path) -> None:
    command = [*SSB, "grade", "-", "--out", "out.jsonl"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, env=alone, cwd=tmp_path, text=True) as process:
        assert process.stdin
        process.stdin.write(PAIRS)
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(0.3)  # from here on it waits for more input
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == (130, "interrupted; out.jsonl is not written\n")
    assert list(tmp_path.iterdir()) == []


def test_grade_ends_without_a_word_when_nobody_reads_on(alone: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(PAIRS * 3000)
    command, pipe = [*SSB, "grade", "in.jsonl"], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=alone, cwd=tmp_path, text=True) as process:
        assert process.stdout and process.stderr
        assert json.loads(process.stdout.readline())["id"] == 7
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
