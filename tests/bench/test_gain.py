"""What the quickstart promises, measured: the student's gain on nano-test over three training seeds."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssb_core import config
from ssb_core.store import Store
from tests.conftest import run_stages

pytestmark = pytest.mark.bench


@pytest.mark.timeout(1200)
def test_the_student_gains_twenty_points_on_each_of_three_training_seeds(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    gains = []
    print(f"\n{'seed':>4} {'base':>7} {'ssb':>7} {'gain':>7}  95% interval      p")
    for seed in range(3):
        settings = config.load("quickstart", overrides=[f"distill.seed={seed}"])
        result = run_stages(settings, store, tmp_path / str(seed)).summary["benchmarks"]["nano-test"]
        paired, models = result["paired"]["ssb-base"], result["models"]
        low, high = paired["ci95"]
        print(
            f"{seed:>4} {models['base']['accuracy']:>7.1%} {models['ssb']['accuracy']:>7.1%} "
            f"{100 * paired['difference']:>+7.1f}  {100 * low:+.1f} to {100 * high:+.1f}  {paired['p_value']:.4f}"
        )
        gains.append((paired["difference"], low))
    assert all(gain >= 0.2 and low > 0 for gain, low in gains)
