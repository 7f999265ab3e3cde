"""A failure that the user must mend is told once, without a traceback, and not tried again."""

from __future__ import annotations

from pathlib import Path

from tests.processes import run_ssb


def test_nothing_to_distill_is_one_clear_message(served: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "hard.jsonl").write_text('{"question": "What is 2 + 2?", "answer": "123456789"}\n')
    command = ["run", "--preset", "quickstart", "--set", "problems={source: hard.jsonl}"]
    done = run_ssb(*command, env=served, cwd=tmp_path)
    assert done.returncode == 1
    assert "error: no trace was taught" in done.stderr
    assert done.stderr.count("no trace was taught") == 1 and "Traceback" not in done.stderr
