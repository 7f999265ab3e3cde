"""What waiting threads cost: sampling with OpenMP's default spinning and with the one `ssb run` sets, idle and busy."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.measure import Figures

pytestmark = pytest.mark.bench
ROOT = Path(__file__).parents[2]
SAMPLE = """
import time
from pathlib import Path
from ssb_core import config, models, problems, prompts
from ssb_core.config.execution import Execution
from ssb_core.engines import SampleRequest, open_sampler
from ssb_core.progress import Progress
model = models.resolve(config.ModelConfig(source="nano", dtype="float32"), Path("store"))
asked = problems.load_problems(config.ProblemsConfig(source="nano-test", limit=128))
with open_sampler(model, Execution(batch_size=64)) as sampler:
    requests = [SampleRequest(sampler.encode(prompts.tutor_messages(p.question)), i) for i, p in enumerate(asked)]
    warm = config.Decoding(temperature=0.8, max_new_tokens=160)
    list(sampler.sample([(0, requests[:4])], warm, Progress()))
    started = time.perf_counter()
    list(sampler.sample([(0, requests)], warm, Progress()))
    print(len(requests) / (time.perf_counter() - started))
"""


def samples_per_second(spins: str | None) -> float:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))} | {"PYTHONPATH": str(ROOT)}
    env |= {"GOMP_SPINCOUNT": spins} if spins else {}
    done = subprocess.run([sys.executable, "-c", SAMPLE], env=env, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_little_spinning_costs_little_when_idle_and_saves_much_when_a_core_is_busy(figures: Figures) -> None:
    idle = samples_per_second(None), samples_per_second("1000")
    busy_core = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        busy = samples_per_second(None), samples_per_second("1000")
    finally:
        busy_core.kill()
        busy_core.wait()
    rows = [
        {"other core": name, "samples/s, default": default, "samples/s, 1000": little, "ratio": little / default}
        for name, (default, little) in (("idle", idle), ("busy", busy))
    ]
    figures("sampling with GOMP_SPINCOUNT", rows)
    assert busy[1] > busy[0]
