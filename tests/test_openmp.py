"""Waiting threads spin little: the variable is set before torch is imported, wherever that happens."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
UNSET = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
NOTED = UNSET | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "support" / "torch_guard")))}


def run_python(code: str, env: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=env, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "first",
    [
        "from ssb_core import run",  # the library
        "import flows.cli.main",  # every command
        "import flows.ssb",  # a flow run of a Prefect worker
        "import tasks.ray_workers",  # a worker on Ray
        "import ssb_core.stages.__main__",  # a stage's process
        "import ssb_core.training.distributed",  # a training process, here or on another machine
    ],
)
def test_the_variable_is_set_before_any_entry_of_the_program_imports_torch(first: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    run_python(
        f"{first}; import importlib.util; importlib.util.find_spec('torch')", NOTED | {"SSB_TEST_TORCH": str(notes)}
    )
    assert notes.read_text().startswith("1000 ")


def test_a_value_of_the_user_is_kept() -> None:
    code = "import os, ssb_core; print(os.environ['GOMP_SPINCOUNT'], ssb_core.openmp.warning())"
    assert run_python(code, UNSET | {"GOMP_SPINCOUNT": "7"}).split() == ["7", "None"]


def test_a_program_that_imported_torch_first_is_told_the_remedy() -> None:
    code = "import sys; sys.modules['torch'] = None\nimport ssb_core; print(ssb_core.openmp.warning())"
    assert "remedy: import ssb_core before torch" in run_python(code, UNSET)
