"""The commands of docs/tutorial.md and the cells of its notebook run as they are printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from ssb_core import models
from tests.support.completions_server import CompletionsServer, running
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
SERVER = "http://127.0.0.1:8000/v1"  # on the page
BUILDS_ON = {4: 1, 5: 4}  # a step and the step whose files it uses


class Reader:
    """A user who follows the page in one folder, a step at a time. No command may fail."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.output = folder, dict[int, str]()
        self.env = env | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}

    def follow(self, step: int, server: str = SERVER) -> str:
        """Run the commands of a step, unless they have run, and return their output."""
        if step in BUILDS_ON:
            self.follow(BUILDS_ON[step])
        if step not in self.output:
            text = PAGE.split("\n## ")[step]
            assert text.startswith(f"{step}. ")
            commands = "".join(re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
            script = ["bash", "-ec", commands.replace(SERVER, server)]
            done = subprocess.run(script, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=280)
            assert done.returncode == 0, done.stdout + done.stderr
            self.output[step] = done.stdout
        return self.output[step]


@pytest.fixture(scope="module")
def reader(alone: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("tutorial"), alone)


def test_the_first_run_shows_a_problem_the_signal_and_a_comparison(reader: Reader) -> None:
    output = reader.follow(1)
    assert (reader.folder / "runs" / "first" / "report.html").is_file()
    assert "nano-train-0007, training problem" in output and "nano-test" in output
    assert "base:" in output and "student:" in output


def test_own_fractions_are_answered_taught_and_learned(reader: Reader) -> None:
    output = reader.follow(2)
    assert '{"prompt": "What is 1/5 + 1/5?", "solution": "\\\\frac{2}{5}"}' in output
    assert "everything is in order" in output
    taught = re.search(r"24 problems: (\d+) mixed, .*; (\d+) taught", output)
    assert taught and int(taught[1]) >= int(taught[2]) >= 1


def test_own_multiple_choice_is_answered_taught_and_learned(reader: Reader) -> None:
    taught = re.search(r"16 problems: (\d+) mixed, .*; (\d+) taught", reader.follow(3))
    assert taught and int(taught[1]) >= int(taught[2]) >= 1


def test_an_exported_student_is_evaluated_and_the_base_of_another_run(reader: Reader) -> None:
    output = reader.follow(4)
    assert (reader.folder / "my-model" / "model.safetensors").is_file()
    assert all((reader.folder / "runs" / name / "summary.json").is_file() for name in ("first", "second"))
    assert "nano-hard (partial)" in output and "model.source" in output.rsplit("nano-hard", 1)[1]


def test_a_completions_server_makes_the_rollouts(reader: Reader, nano: models.ResolvedModel) -> None:
    served = CompletionsServer(nano)
    with running(served) as url:
        assert "rollouts ran" in reader.follow(5, url)
    assert len(served.bodies) == 32 * 4


def test_the_notebook_runs_to_its_end(alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in alone.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=240, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", ()))
    assert re.search(r"^ssb on nano-test: \d+\.\d% \(\d+\.\d% to \d+\.\d%\)$", printed, re.MULTILINE)
    assert (tmp_path / "runs" / "notebook" / "report.html").is_file()
