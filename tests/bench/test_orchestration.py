"""Seconds of Prefect in a run: the same small run as a library, with a temporary server, with a standing one."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from ssb_core.config import presets
from ssb_core.store import Store
from tests.bench.measure import Figures
from tests.support.processes import ROOT, SSB, quickstart
from tests.support.runs import run_stages
from tests.support.settings import SMALL

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
BENCHMARK = "{{name: {0}, source: {0}, limit: 48}}"
BOTH = ", ".join(map(BENCHMARK.format, ("nano-test", "nano-hard")))
SETTINGS = (*SMALL[:-1], f"evaluate.benchmarks=[{BOTH}]")
COMMAND = quickstart("run", SETTINGS)
PLAN = 2.0  # seconds that `ssb plan` may take


def seconds(command: list[str], env: dict[str, str], folder: Path) -> float:
    started = time.monotonic()
    done = subprocess.run(command, env=env, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - started


def cached_ms(folder: Path) -> float:
    """Milliseconds of a cached request, in the mean over those of the last run."""
    (path,) = folder.glob("runs/*/stages.json")
    ran = json.loads(path.read_text())
    assert {r["status"] for r in ran} == {"cached"}
    return float(1000 * sum(r["seconds"] for r in ran) / len(ran))


def test_what_prefect_costs(alone: dict[str, str], served: dict[str, str], tmp_path: Path, figures: Figures) -> None:
    library = [sys.executable, "-m", "tests.bench.test_orchestration"]
    ways = {
        "library": (library, alone),
        "temporary server": ([*SSB, *COMMAND], alone),
        "standing server": ([*SSB, *COMMAND], served),
    }
    rows: list[dict[str, Any]] = []
    for name, (command, env) in ways.items():
        folder = tmp_path / name.split()[0]
        folder.mkdir()
        cold, warm = (seconds(command, {**env, "PYTHONPATH": str(ROOT)}, folder) for _ in range(2))
        first = rows[0] if rows else {"cold s": cold, "warm s": warm}
        of_prefect = {"Prefect, cold s": cold - first["cold s"], "Prefect, warm s": warm - first["warm s"]}
        per_stage = "" if name == "library" else round(cached_ms(folder))
        rows.append({"way": name, "cold s": cold, "warm s": warm, **of_prefect, "ms a cached request": per_stage})
    planned = seconds([*SSB, "plan", *COMMAND[1:]], alone, tmp_path / "library")
    figures("A small run with seven requests", rows)
    figures("ssb plan without a server", [{"seconds": planned}])
    assert planned < PLAN


if __name__ == "__main__":
    run_stages(presets.load_config("quickstart", overrides=SETTINGS), Store(Path("store")), Path("runs/library"))
