"""Time and memory of the exact losses beside the dense reference and cross-entropy, at Qwen2.5-3B's head."""

from __future__ import annotations

import pytest

from tests.bench.loss import WAYS
from tests.bench.measure import Figures, measured

pytestmark = [pytest.mark.bench, pytest.mark.timeout(1800)]


@pytest.mark.parametrize("tokens", [256, 1024])
def test_the_exact_loss_takes_a_tenth_of_the_memory_at_the_cost_of_cross_entropy(tokens: int, figures: Figures) -> None:
    results = {way: measured("tests.bench.loss", way, tokens) for way in WAYS}
    dense, plain = results["reference"], results["cross_entropy"]
    rows = [
        {
            "way": way,
            "seconds": f["seconds"],
            "of the reference": f["seconds"] / dense["seconds"],
            "of cross-entropy": f["seconds"] / plain["seconds"],
            "extra MiB": f["bytes"] / 2**20,
            "reference over it": dense["bytes"] / f["bytes"],
        }
        for way, f in results.items()
    ]
    figures(f"loss, {tokens} reply tokens", rows)
    for way in ("teacher", "cached"):
        assert results[way]["loss"] == pytest.approx(dense["loss"], rel=1e-5)
        if way == "cached" or tokens > 256:  # three chunks of logits are more than a tenth of the smallest reference
            assert results[way]["bytes"] <= dense["bytes"] / 10
    assert results["cached"]["seconds"] <= 0.6 * dense["seconds"]
    assert results["cached"]["seconds"] <= 1.1 * plain["seconds"]
