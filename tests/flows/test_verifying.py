"""The verifier in Prefect tasks: hostile answers time out, and so does the task by its own timeout."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = r"""
import json, time
from prefect import flow, task
from ssb_core.verify import Verifier

statuses, started = [], [Verifier(deadline=0.5), Verifier(deadline=0.5)]
ENDLESS, HONEST = r"\boxed{\binom{999999999}{444444444}}", r"\boxed{\sqrt{36}}"

@task(timeout_seconds=6)
def grade_then_hang():
    with started.pop() as verifier:
        statuses.extend(v.status for v in verifier.grade([(HONEST, "6"), (ENDLESS, "6")]))
    while True:
        time.sleep(0.1)

@flow
def verifying():
    for verifier in started:  # an interpreter with SymPy takes seconds to start
        list(verifier.grade([(r"\boxed{\sqrt{25}}", "5")]))
    in_another = grade_then_hang.submit()
    in_main_thread = grade_then_hang(return_state=True)
    in_another.wait()
    return [in_main_thread.name, in_another.state.name]

if __name__ == "__main__":
    print(json.dumps([verifying(), statuses]))
"""


def test_a_tasks_own_timeout_fires_after_grading_hostile_answers(served: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "verifying.py").write_text(SCRIPT)
    done = subprocess.run(
        [sys.executable, "verifying.py"], env=served, cwd=tmp_path, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stderr[-3000:]
    states, statuses = json.loads(done.stdout.splitlines()[-1])
    assert sorted(statuses) == ["correct", "correct", "timeout", "timeout"]
    assert states == ["TimedOut", "TimedOut"]
