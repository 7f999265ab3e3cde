"""docs/tutorial.md and its notebook are true: `make soak` types every command of the page, CI checks the others."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import typer
from nbclient import NotebookClient

from flows.cli.main import app
from ssb_core import models, problems
from ssb_core.config import presets
from tests.support.completions_server import CompletionsServer, running
from tests.support.processes import ROOT

STEPS = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8").split("\n## ")
NOTEBOOK = ROOT / "docs" / "tutorial.ipynb"
SERVER = "http://127.0.0.1:8000/v1"  # on the page
BUILDS_ON = {4: 1, 5: 4}  # a step and the step whose files it uses


def commands(step: int) -> str:
    """The commands of a step, as a shell script."""
    assert STEPS[step].startswith(f"{step}. ")
    return "".join(re.findall(r"^```bash\n(.*?)^```$", STEPS[step], re.MULTILINE | re.DOTALL))


class Reader:
    """A user who follows the page in one folder, a step at a time. No command may fail."""

    def __init__(self, folder: Path, env: dict[str, str]) -> None:
        self.folder, self.output = folder, dict[int, str]()
        self.env = env | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}

    def type(self, script: str) -> str:
        """Run a script and return its output."""
        done = subprocess.run(
            ["bash", "-ec", script], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=290
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def follow(self, step: int, server: str = SERVER) -> str:
        """Run the commands of a step, unless they have run, and return their output."""
        if step in BUILDS_ON:
            self.follow(BUILDS_ON[step])
        if step not in self.output:
            self.output[step] = self.type(commands(step).replace(SERVER, server))
        return self.output[step]


@pytest.fixture(scope="module")
def reader(alone: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Reader:
    return Reader(tmp_path_factory.mktemp("tutorial"), alone)


@pytest.mark.parametrize(("step", "name"), [(2, "fractions"), (3, "capitals")])
def test_the_files_of_own_problems_can_be_used(
    step: int, name: str, alone: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = "\n".join(line for line in commands(step).splitlines() if not line.startswith("ssb "))
    Reader(tmp_path, alone).type(files)
    monkeypatch.chdir(tmp_path)
    config = presets.load_config(file=Path(f"{name}.yaml"))
    for problem_set in (config.problems, *config.evaluate.benchmarks):
        assert len(problems.load_problems(problem_set)) >= 8 and not problems.rejections(problem_set)
    assert len(config.prompts.few_shot) == 2


def test_every_command_has_options_that_exist() -> None:
    script = "".join(commands(step) for step in range(1, 6)).replace("\\\n", " ")
    lines = re.findall(r"(?:^|\| )ssb (.*)", script, re.MULTILINE)
    assert len(lines) >= 15
    group = typer.main.get_command(app)
    for line in lines:
        name, *options = shlex.split(line, comments=True)
        command = group.get_command(typer.Context(group), name)  # type: ignore[attr-defined]
        command.make_context(name, options)


@pytest.mark.soak
def test_the_first_run_shows_a_problem_the_signal_a_comparison_and_a_chat(reader: Reader) -> None:
    output = reader.follow(1)
    assert (reader.folder / "runs" / "first" / "report.html").is_file()
    assert "nano-train-0007, training problem" in output and "nano-test" in output
    assert "base:" in output and "student:" in output


@pytest.mark.soak
@pytest.mark.parametrize(("step", "n"), [(2, 24), (3, 16)])
def test_own_problems_are_answered_taught_and_learned(step: int, n: int, reader: Reader) -> None:
    taught = re.search(rf"{n} problems: (\d+) mixed, .*; (\d+) taught", reader.follow(step))
    assert taught and int(taught[1]) >= int(taught[2]) >= 1


@pytest.mark.soak
def test_an_exported_student_is_evaluated_and_the_base_of_another_run(reader: Reader) -> None:
    output = reader.follow(4)
    assert (reader.folder / "my-model" / "model.safetensors").is_file()
    assert all((reader.folder / "runs" / name / "summary.json").is_file() for name in ("first", "second"))
    assert "nano-hard (partial)" in output and "model.source" in output.rsplit("nano-hard", 1)[1]


@pytest.mark.soak
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
