"""Two runs at once on one store: one works, the other waits, says so, and uses the results."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.support.processes import SSB, quickstart
from tests.support.settings import FAST
from tests.support.store_files import committed

pytestmark = pytest.mark.timeout(600)
COMMAND = [*SSB, *quickstart("run", FAST)]


def test_two_runs_at_once_make_every_shard_once(served: dict[str, str], tmp_path: Path) -> None:
    runs = []
    for name in ("first", "second"):
        with (tmp_path / f"{name}.txt").open("w") as log:
            command = [*COMMAND, "--name", name]
            runs.append(subprocess.Popen(command, env=served, cwd=tmp_path, stdout=log, stderr=log))
    logs = [(tmp_path / f"{name}.txt", run.wait(500)) for name, run in zip(("first", "second"), runs, strict=True)]
    for log, code in logs:
        assert code == 0, log.read_text()
    assert any("waiting for process" in log.read_text() for log, _ in logs)
    summaries = [json.loads((tmp_path / "runs" / n / "summary.json").read_text()) for n in ("first", "second")]
    assert summaries[0]["benchmarks"] == summaries[1]["benchmarks"]
    stages = [s["stages"] for s in summaries]
    for stage in ("rollouts", "select", "teach", "evaluate"):
        made = [s[stage]["shards"] - s[stage]["shards_reused"] for s in stages]
        assert sum(made) == len([p for p in committed(tmp_path / "store") if f"/{stage}/" in p and _listed(p)])
    assert not list((tmp_path / "store").rglob("*.tmp"))


def _listed(path: str) -> bool:
    """Whether the summary counts a shard: of teach, it counts those with the signal."""
    recipe = json.loads((Path(path).parents[1] / "recipe.json").read_text())
    return bool(recipe.get("part", "signal") == "signal")
