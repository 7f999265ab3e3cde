"""The script in docs/python-api.md runs as it is printed there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import fields

import pytest

import ssb_core
from ssb_core.records import BenchmarkScore, PairedDifference
from ssb_core.results import NamedDifference
from tests.support.processes import ROOT

PAGE = (ROOT / "docs" / "python-api.md").read_text()
PERCENT = r"\d+\.\d%"


def script() -> str:
    """The page's one block of Python code."""
    (block,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the script prints in an empty folder, without the lines that count."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "script.py").write_text(script())
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "script.py"], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (folder / "runs" / "mine" / "report.html").is_file() and (folder / "store").is_dir()
    return "\n".join(line for line in done.stdout.splitlines() if not re.match(r"[\w -]+: \d+ of \d+ \w+$", line))


def test_the_script_prints_the_score_and_the_interval_of_each_model(output: str) -> None:
    for model in ("base", "ssb"):
        (line,) = re.findall(
            rf"^{model} on nano-test: ({PERCENT}) \(({PERCENT}) to ({PERCENT})\)$", output, re.MULTILINE
        )
        accuracy, low, high = (float(p.rstrip("%")) for p in line)
        assert low <= accuracy <= high


def test_the_script_prints_the_history_of_a_problem(output: str) -> None:
    (problem_id,) = re.findall(r'"(nano-train-\d+)"', script())
    assert f"{problem_id}, training problem" in output


def test_the_script_prints_verdicts_and_an_answer_of_the_student(output: str) -> None:
    lines = output.split("\n")
    (first,) = [i for i, line in enumerate(lines) if line.startswith("correct 0.5 ")]
    assert lines[first] == "correct 0.5 n:1/2" and lines[first + 1] == r"incorrect 5\% n:1/20"
    answer = lines[first + 2 :]
    assert any("\\boxed{" in line for line in answer) and not any(line.startswith("sample") for line in answer)


def test_every_name_of_the_page_is_public() -> None:
    used = set(re.findall(r"ssb_core\.([A-Za-z_]+)", PAGE))
    assert used and used <= set(ssb_core.__all__)
    tables = set(re.findall(r"^\| `(\w+)(?:\(.*?\))?` \|", PAGE, re.MULTILINE))
    calls = {name for name in tables if name[0].isupper() or name.startswith(("load_", "plan"))}
    assert calls <= set(ssb_core.__all__)


def test_every_field_that_the_page_names_exists() -> None:
    (section,) = re.findall(r"^## Read the results\n(.*?)`runs/", PAGE, re.MULTILINE | re.DOTALL)
    scores, differences = section.split("`summary.differences`")
    records = ((scores, (BenchmarkScore,)), (differences, (NamedDifference, PairedDifference)))
    for text, kinds in records:
        named = set(re.findall(r"`([a-z_0-9]+)`", text))
        assert len(named) >= 5 and named <= {f.name for kind in kinds for f in fields(kind)}
