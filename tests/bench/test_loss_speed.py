"""Time and memory of the exact losses beside the dense reference and cross-entropy, at Qwen2.5-3B's head."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench.conftest import Figures
from tests.bench.loss import WAYS

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]
ROOT = Path(__file__).parents[2]


def measured(way: str, tokens: int) -> dict[str, Any]:
    """In a process of its own: memory freed by another way would be counted as free."""
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.bench.loss", way, str(tokens)]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("tokens", [256, 1024])
def test_the_exact_loss_takes_a_tenth_of_the_references_memory_at_cross_entropys_cost(
    tokens: int, figures: Figures
) -> None:
    found = {way: measured(way, tokens) for way in WAYS}
    dense, plain = found["reference"], found["cross_entropy"]
    rows = [
        {
            "way": way,
            "seconds": f["seconds"],
            "of the reference": f["seconds"] / dense["seconds"],
            "of cross-entropy": f["seconds"] / plain["seconds"],
            "extra MiB": f["bytes"] / 2**20,
            "reference over it": dense["bytes"] / f["bytes"],
        }
        for way, f in found.items()
    ]
    figures(f"loss, {tokens} reply tokens", rows)
    for way in ("teacher", "cached"):
        assert found[way]["loss"] == pytest.approx(dense["loss"], rel=1e-5)
        if way == "cached" or tokens > 256:  # three chunks of logits are more than a tenth of the smallest reference
            assert found[way]["bytes"] <= dense["bytes"] / 10
    assert found["cached"]["seconds"] <= 0.6 * dense["seconds"]
    assert found["cached"]["seconds"] <= 1.1 * plain["seconds"]
