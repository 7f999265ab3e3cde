"""What a crash or a bad disk can leave of Prefect's results and of a run's own files: noticed, and made anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from ssb_core.config import ConfigError
from ssb_core.runs import Run
from tests.faults import judge
from tests.faults.test_signals import COMMAND
from tests.processes import SSB, run_ssb

DAMAGES = (b"", b"{", b"\x00" * 64, b"{}", b'{"metadata": {}, "result": "x"}', None)


def test_damaged_results_of_prefect_and_files_of_the_run_are_made_anew_and_no_stage_is(
    served: dict[str, str], tmp_path: Path
) -> None:
    command = COMMAND[len(SSB) :]
    first = run_ssb(*command, env=served, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    seen, results = judge.committed(tmp_path), judge.results(tmp_path)
    stored = sorted((tmp_path / "store" / "results").iterdir())
    assert len(stored) == len(DAMAGES)
    for path, damage in zip(stored, DAMAGES, strict=True):
        path.unlink() if damage is None else path.write_bytes(damage)
    run = tmp_path / "runs" / "run"
    for name in ("config.yaml", "env.json", "stages.json", "summary.json"):
        (run / name).write_bytes((run / name).read_bytes()[:20])
    again = run_ssb(*command, env=served, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert judge.committed(tmp_path) == seen and judge.results(tmp_path) == results
    statuses = {row["status"] for row in json.loads((run / "stages.json").read_text())}
    assert statuses == {"cached"}


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_damaged_file_of_a_run_is_named_with_the_remedy(quick_run: Run, tmp_path: Path, content: str) -> None:
    run = Run(tmp_path / "run", quick_run.store)
    shutil.copytree(quick_run.directory, run.directory)
    for name in ("summary.json", "stages.json", "env.json"):
        whole = (run.directory / name).read_text()
        (run.directory / name).write_text(content)
        with pytest.raises(ConfigError, match=f"{name} is damaged .*\n  remedy: "):
            print(Run.named(tmp_path, "run", run.store).stages, run.environment)
        (run.directory / name).write_text(whole)
