"""What the quickstart promises, measured: the student's gain on nano-test over three training seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core.config import presets
from ssb_core.store import Store
from tests.bench.measure import Figures
from tests.support.runs import run_stages

pytestmark = pytest.mark.bench


@pytest.mark.timeout(1200)
def test_the_student_gains_twenty_points_on_each_of_three_training_seeds(tmp_path: Path, figures: Figures) -> None:
    store = Store(tmp_path / "store")
    gains, rows = [], []
    for seed in range(3):
        settings = presets.load_config("quickstart", overrides=[f"distill.seed={seed}"])
        result = run_stages(settings, store, tmp_path / str(seed)).load_summary()["benchmarks"]["nano-test"]
        paired, models = result["paired"]["ssb-base"], result["models"]
        low, high = paired["ci95"]
        accuracies = {f"{name}, %": 100 * models[name]["accuracy"] for name in ("base", "ssb")}
        gain = {"gain, points": 100 * paired["difference"], "low": 100 * low, "high": 100 * high}
        rows.append({"seed": seed, **accuracies, **gain, "p": paired["p_value"]})
        gains.append((paired["difference"], low))
    figures("gain on nano-test over training seeds", rows)
    assert all(gain >= 0.2 and low > 0 for gain, low in gains)
