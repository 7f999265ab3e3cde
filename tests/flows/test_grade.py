"""``ssb grade``: verdicts on stdout or in a file, a summary on stderr, and no half-written file."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.processes import SSB, run_ssb

PAIRS = (
    '{"id": 7, "gold": "1/2", "completion": "Half of them: \\\\boxed{0.5}."}\n'
    '{"id": 8, "gold": "", "completion": "\\\\boxed{3}"}\n'
    '{"id": 9, "gold": "6 * 7\\n#### 42", "completion": "It is 42."}\n'
)


def test_a_verdict_for_each_pair_and_the_summary_on_stderr(alone: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(PAIRS)
    done = run_ssb("grade", "in.jsonl", env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
    assert [(r["id"], r["status"]) for r in rows] == [(7, "correct"), (8, "rejected"), (9, "no_answer")]
    labels = [line.split()[0] for line in done.stderr.split("\n")[:-1]]
    assert labels == ["graded", "accuracy", "string", "verdicts", "speed", "unverifiable", "versions"]
    assert "2 of 3 pairs, form boxed" in done.stderr and "line 2 (it is empty)" in done.stderr


def test_standard_input_is_graded_into_a_file(alone: dict[str, str], tmp_path: Path) -> None:
    command = [*SSB, "grade", "-", "--form", "choice", "--out", "out.jsonl"]
    text = '{"gold": "(B)", "completion": "\\\\boxed{b}"}\n'
    done = subprocess.run(command, input=text, env=alone, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert json.loads((tmp_path / "out.jsonl").read_text())["status"] == "correct"


@pytest.mark.parametrize("source", ["in.jsonl", "-"])
def test_a_bad_line_is_refused_with_its_number_and_leaves_no_file(
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


def test_an_interruption_leaves_no_file(alone: dict[str, str], tmp_path: Path) -> None:
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


def test_a_closed_pipe_ends_it_without_a_message(alone: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(PAIRS * 3000)
    command, pipe = [*SSB, "grade", "in.jsonl"], subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, env=alone, cwd=tmp_path, text=True) as process:
        assert process.stdout and process.stderr
        assert json.loads(process.stdout.readline())["id"] == 7
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
