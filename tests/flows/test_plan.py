"""``ssb plan``: it needs no server, changes nothing, and names the problems that are left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.processes import quickstart, run_ssb


def test_it_needs_no_server_and_changes_nothing(alone: dict[str, str], tmp_path: Path) -> None:
    done = run_ssb(*quickstart("plan"), env=alone, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "rollouts wave 1" in done.stdout and "missing" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_it_names_unverifiable_and_contaminated_problems(ssb_here: Callable[..., Any], tmp_path: Path) -> None:
    for name, unverifiable in (("mine", 5), ("held-out", 1)):
        answers = ["2", *[" "] * unverifiable]
        rows = "".join(json.dumps({"question": "1+1?", "answer": a}) + "\n" for a in answers)
        (tmp_path / f"{name}.jsonl").write_text(rows)
    changes = ["problems={source: mine.jsonl}", "evaluate.benchmarks=[{name: held, source: held-out.jsonl}]"]
    done = ssb_here(*quickstart("plan", changes), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == (
        "note: mine.jsonl: 5 problems left out, reference answer cannot be used: 'mine-00002' (it is empty), "
        "'mine-00003' (it is empty), 'mine-00004' (it is empty); the whole list: the run's report.html\n"
        "note: benchmark held: 1 problem left out, reference answer cannot be used: 'held-out-00002' (it is empty); "
        "see the run's report.html\n"
        "warning: 1 of held's problems is also among the training problems: 'held-out-00001' (as 'mine-00001'). "
        "The whole list: the run's report.html\n"
    )
